//! The daemon's settings as they were, but for the place of the catalog.

use simsim_model::Kind;

use crate::exit::Failure;

/// The file that the recovered server needs; `None`: none. Where the catalog's place is another one than
/// before, comments are lost, and a line says so.
pub fn fit(kept: Option<&[u8]>, catalog: &str) -> Result<Option<Vec<u8>>, Failure> {
    let wrong = |why: String| {
        Failure::new(Kind::Invalid, format!("the settings in the server's backup: {why}"))
    };
    let text =
        std::str::from_utf8(kept.unwrap_or_default()).map_err(|error| wrong(error.to_string()))?;
    let mut table: toml::Table =
        text.parse().map_err(|error: toml::de::Error| wrong(error.to_string()))?;
    let server = table.entry("server").or_insert_with(|| toml::Table::new().into());
    let server = server.as_table_mut().ok_or_else(|| wrong("'server' is no table".to_owned()))?;
    let before = server.get("catalog").and_then(toml::Value::as_str).unwrap_or_default().to_owned();
    if before == catalog {
        return Ok(kept.map(<[u8]>::to_vec));
    }
    match catalog {
        "" => drop(server.remove("catalog")),
        place => drop(server.insert("catalog".to_owned(), place.into())),
    }
    if server.is_empty() {
        table.remove("server");
    }
    let text = toml::to_string(&table).map_err(|error| wrong(error.to_string()))?;
    let head = "# Written by 'simsim recover': as before, but for the place of the catalog.\n";
    Ok(Some(format!("{head}{text}").into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fitted(kept: &str, catalog: &str) -> String {
        String::from_utf8(fit(Some(kept.as_bytes()), catalog).unwrap().unwrap()).unwrap()
    }

    #[test]
    fn only_the_place_of_the_catalog_changes_and_only_where_it_is_another() {
        let kept = "# mine\nname = \"vault\"\n[server]\nadvertise = [\"a\"]\n";
        assert_eq!(fitted(kept, ""), kept, "untouched, with its comments");
        let there = fitted(kept, "postgresql://s@db/simsim");
        let table: toml::Table = there.parse().unwrap();
        assert_eq!(table["server"]["catalog"].as_str(), Some("postgresql://s@db/simsim"));
        assert_eq!(table["name"].as_str(), Some("vault"));
        let back = fitted(&there, "");
        let table: toml::Table = back.parse().unwrap();
        assert!(table["server"].as_table().unwrap().get("catalog").is_none());
        assert_eq!(table["server"]["advertise"][0].as_str(), Some("a"));
        assert_eq!(fit(None, "").unwrap(), None);
        assert!(fit(None, "postgresql://x").unwrap().is_some());
        assert!(fit(Some(b"= ="), "").is_err());
    }
}
