//! A database that is dumped into the suite and restored out of it: `pg_dump | curl`, `curl | psql`.

use simsim_testkit::{Postgres, skip};

use super::Desk;
use crate::hosts::assert_done;

#[test]
fn a_database_is_dumped_into_the_suite_and_comes_back_out_of_it() {
    let postgres = match Postgres::start() {
        Ok(postgres) => postgres,
        Err(why) => return skip(&why),
    };
    let desk = Desk::new();
    let (_, header) = desk.token("db", "db", "both");
    assert_done(&postgres.shell("createdb shop"));
    postgres.sql(
        "shop",
        "CREATE TABLE orders AS SELECT n, md5(n::text) AS what, n * 1.5 AS price \
         FROM generate_series(1, 20000) AS n",
    );
    let digest = "SELECT count(*), sum(price), md5(string_agg(what, ',' ORDER BY n)) FROM orders";
    let before = postgres.sql("shop", digest);
    let curl = format!(
        "curl -sS --fail-with-body --cacert '{}' -H '{header}'",
        desk.authority().display()
    );
    let url = desk.url("db");
    let dump = postgres.shell(&format!("pg_dump shop | {curl} -T - {url}"));
    assert_done(&dump);
    assert!(String::from_utf8_lossy(&dump.stdout).starts_with("saveset "), "{dump:?}");
    // Dumped again it is the same text, and hardly anything is new.
    assert_done(&postgres.shell(&format!("pg_dump shop | {curl} -T - {url}")));
    assert_done(&postgres.shell("createdb again"));
    let back = format!("{curl} {url} | psql -qX -v ON_ERROR_STOP=1 -d again");
    assert_done(&postgres.shell(&back));
    assert_eq!(postgres.sql("again", digest), before);
    assert_eq!(desk.savesets("db").len(), 2);

    // The way that 'raw streams' recommends: a dump that fails is no backup, although its pipe ends.
    let careful = |database: &str| {
        format!(
            "dir=$(mktemp -d)\n\
             mkfifo \"$dir/pipe\"\n\
             {curl} -T - {url} < \"$dir/pipe\" &\n\
             curl=$!\n\
             exec 3> \"$dir/pipe\"\n\
             if pg_dump {database} >&3; then exec 3>&-; wait $curl\n\
             else kill $curl; exec 3>&-; rm -r \"$dir\"; exit 1; fi\n\
             rm -r \"$dir\"\n"
        )
    };
    assert_eq!(postgres.shell(&careful("nothing")).status.code(), Some(1));
    crate::hosts::until("no job is open", || {
        let open = desk.server.must("job.list", serde_json::json!({ "open_only": true }));
        open.as_array().unwrap().is_empty()
    });
    assert_eq!(desk.savesets("db").len(), 2, "a dump that failed is not kept");
    assert_done(&postgres.shell(&careful("shop")));
    assert_eq!(desk.savesets("db").len(), 3);
}
