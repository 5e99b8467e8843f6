//! The schema is one for SQLite and PostgreSQL: its steps make the same tables there.

use std::collections::BTreeSet;

use rusqlite::Connection;

use super::on;
use crate::fixture::{On, Place};

fn lines(connection: &Connection, query: &str) -> BTreeSet<String> {
    let mut query = connection.prepare(query).unwrap();
    query.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn every_step_makes_the_same_tables_in_postgresql() {
    let Some(on) = on() else { return };
    let there = Place::new(&on);
    drop(there.open());
    let mut there = postgres::Client::connect(&there.text(), postgres::NoTls).unwrap();
    let mut there = |query: &str| -> BTreeSet<String> {
        there.query(query, &[]).unwrap().iter().map(|row| row.get(0)).collect()
    };
    let place = Place::new(&On::Sqlite);
    drop(place.open());
    let here = Connection::open(place.file()).unwrap();
    let own = "m.type = 'table' AND m.name NOT LIKE 'sqlite_%'";

    let columns = lines(
        &here,
        &format!(
            "SELECT m.name || '.' || c.name || ' '
                    || replace(replace(c.type, 'BLOB', 'BYTEA'), 'INTEGER', 'BIGINT') || ' '
                    || CASE c.\"notnull\" WHEN 1 THEN 'NO' ELSE 'YES' END
             FROM sqlite_schema m JOIN pragma_table_info(m.name) c WHERE {own}"
        ),
    );
    assert!(columns.len() > 150, "{columns:#?}");
    let theirs = there(
        "SELECT table_name || '.' || column_name || ' ' || upper(data_type) || ' ' || is_nullable
         FROM information_schema.columns
         WHERE table_schema = current_schema() AND table_name <> 'catalog_fence'",
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
         WHERE c.contype = 'f' AND c.connamespace = current_schema()::regnamespace",
    );
    assert_eq!(keys, theirs);

    // What PostgreSQL names by itself has other names.
    let named = "name NOT LIKE 'sqlite_autoindex_%'";
    let indexes =
        lines(&here, &format!("SELECT name FROM sqlite_schema WHERE type = 'index' AND {named}"));
    let theirs = there(
        "SELECT CAST(i.relname AS TEXT) FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
         LEFT JOIN pg_constraint c ON c.conindid = x.indexrelid AND c.contype IN ('p', 'u')
         JOIN pg_namespace n ON n.oid = i.relnamespace
         WHERE n.nspname = current_schema() AND c.oid IS NULL",
    );
    assert_eq!(indexes, theirs);
}

#[test]
fn text_is_ordered_and_compared_by_bytes_in_every_column() {
    let Some(on) = on() else { return };
    let place = Place::new(&on);
    drop(place.open());
    let other = place.raw().number(
        "SELECT COUNT(*) FROM information_schema.columns
         WHERE table_schema = current_schema() AND data_type = 'text'
             AND collation_name IS DISTINCT FROM 'C'",
    );
    assert_eq!(other, 0);
}
