//! The schema is one for SQLite and PostgreSQL: each of its steps, as it stands but for the word for
//! bytes, makes the same tables there.

use std::collections::BTreeSet;
use std::path::Path;

use rusqlite::Connection;
use simsim_testkit::{Postgres, skip};

use crate::fixture::Place;

/// The steps in the order in which they are applied.
fn steps() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/schema");
    let mut files: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect()
}

fn lines(connection: &Connection, query: &str) -> BTreeSet<String> {
    let mut query = connection.prepare(query).unwrap();
    query.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn every_step_makes_the_same_tables_in_postgresql() {
    let postgres = match Postgres::start() {
        Ok(postgres) => postgres,
        Err(why) => return skip(&why),
    };
    for step in steps() {
        postgres.sql("postgres", &step.replace("BLOB", "BYTEA"));
    }
    let there = |query: &str| -> BTreeSet<String> {
        postgres.sql("postgres", query).lines().map(str::to_owned).collect()
    };
    let place = Place::new();
    drop(place.open());
    let here = Connection::open(place.file()).unwrap();
    let own = "m.type = 'table' AND m.name NOT LIKE 'sqlite_%' AND m.name <> 'schema_version'";

    let columns = lines(
        &here,
        &format!(
            "SELECT m.name || '.' || c.name || ' ' || replace(c.type, 'BLOB', 'BYTEA') || ' '
                    || CASE c.\"notnull\" WHEN 1 THEN 'NO' ELSE 'YES' END
             FROM sqlite_schema m JOIN pragma_table_info(m.name) c WHERE {own}"
        ),
    );
    assert!(columns.len() > 150, "{columns:#?}");
    let theirs = there(
        "SELECT table_name || '.' || column_name || ' ' || upper(data_type) || ' ' || is_nullable
         FROM information_schema.columns WHERE table_schema = 'public'",
    );
    assert_eq!(columns, theirs);

    let keys = lines(
        &here,
        &format!(
            "SELECT m.name || '.' || k.\"from\" || ' ' || k.\"table\" || '.' || k.\"to\" || ' '
                    || k.on_delete
             FROM sqlite_schema m JOIN pragma_foreign_key_list(m.name) k WHERE {own}"
        ),
    );
    assert!(keys.len() > 20, "{keys:#?}");
    let theirs = there(
        "SELECT c.conrelid::regclass || '.' || a.attname || ' ' || c.confrelid::regclass || '.'
                || b.attname || ' ' || CASE c.confdeltype WHEN 'c' THEN 'CASCADE'
                                       WHEN 'n' THEN 'SET NULL' ELSE 'NO ACTION' END
         FROM pg_constraint c
         CROSS JOIN generate_subscripts(c.conkey, 1) AS at
         JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[at]
         JOIN pg_attribute b ON b.attrelid = c.confrelid AND b.attnum = c.confkey[at]
         WHERE c.contype = 'f'",
    );
    assert_eq!(keys, theirs);

    // What PostgreSQL names by itself has other names.
    let named = "name NOT LIKE 'sqlite_autoindex_%'";
    let indexes =
        lines(&here, &format!("SELECT name FROM sqlite_schema WHERE type = 'index' AND {named}"));
    let theirs = there(
        "SELECT i.relname FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
         LEFT JOIN pg_constraint c ON c.conindid = x.indexrelid AND c.contype IN ('p', 'u')
         JOIN pg_namespace n ON n.oid = i.relnamespace
         WHERE n.nspname = 'public' AND c.oid IS NULL",
    );
    assert_eq!(indexes, theirs);
}
