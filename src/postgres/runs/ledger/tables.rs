//! What the ledger's tables are.

use crate::postgres::name::{Ident, TableName, Text};
use crate::postgres::trust::own_schema::keep_private;
use crate::postgres::trust::roles::Plain;

/// The table of runs. It has no defaults: an expression would be code.
pub(super) const RUNS: Plain = Plain {
    name: "osc_ledger",
    columns: &[
        ("system", "bigint!"),
        ("database", "oid!"),
        ("run", "bigint!"),
        ("schema_name", "text!"),
        ("table_name", "text!"),
        ("clauses", "text!"),
        ("method", "text!"),
        ("phase", "text!"),
        ("result", "text"),
        ("detail", "text"),
        ("state", "text"),
        ("rows_copied", "bigint!"),
        ("rows_estimate", "bigint!"),
        ("rows_verified", "bigint"),
        ("verification", "text!"),
        ("lock_ms", "double precision"),
        ("owner", "text!"),
        ("carried", "text"),
        ("started", "timestamp with time zone!"),
        ("updated", "timestamp with time zone!"),
        ("ended", "timestamp with time zone"),
    ],
    counter: Some("run"),
    defaults: &[],
    key: &["system", "database", "run"],
    comment: "The record of every run of osc",
    grants: &[],
};

/// Orders for runs. Other roles may be granted INSERT and SELECT on it: what the server knows by itself of an
/// order it fills in, by functions of its own.
pub(super) const ORDERS: Plain = Plain {
    name: "osc_order",
    columns: &[
        ("id", "bigint!"),
        ("run", "bigint!"),
        ("verb", "text!"),
        ("arguments", "text"),
        ("who", "text!"),
        ("host", "text"),
        ("why", "text"),
        ("made", "timestamp with time zone!"),
        ("expires", "timestamp with time zone"),
        ("answer", "text"),
        ("answered", "timestamp with time zone"),
        ("server", "text"),
    ],
    counter: Some("id"),
    defaults: &[
        ("who", "SESSION_USER"),
        ("host", "host(inet_client_addr())"),
        ("made", "clock_timestamp()"),
    ],
    key: &["run", "id"],
    comment: "Orders for runs of osc, and their answers",
    grants: &["INSERT"],
};

/// Figures of runs over time; the last row of a run has its picture.
pub(super) const SAMPLES: Plain = Plain {
    name: "osc_sample",
    columns: &[
        ("server", "text!"),
        ("run", "bigint!"),
        ("at", "timestamp with time zone!"),
        ("series", "text!"),
        ("picture", "text"),
    ],
    counter: None,
    defaults: &[],
    key: &["server", "run", "at"],
    comment: "Figures of runs of osc over time",
    grants: &[],
};

/// The tables that osc has in its schema.
pub(super) const TABLES: &[Plain] = &[RUNS, ORDERS, SAMPLES];

impl Plain {
    /// The statement that makes it, for no one else.
    pub(super) fn create(&self, schema: &Ident) -> String {
        let name = TableName { schema: schema.clone(), table: Ident::new(self.name) };
        let columns: Vec<String> = self
            .columns
            .iter()
            .map(|(column, kind)| {
                let plain = kind.trim_end_matches('!');
                let not_null = if plain == *kind { "" } else { " NOT NULL" };
                let counts = self.counter == Some(*column);
                let identity = if counts { " GENERATED ALWAYS AS IDENTITY" } else { "" };
                let default = self.defaults.iter().find(|(of, _)| of == column);
                let default =
                    default.map_or_else(String::new, |(_, value)| format!(" DEFAULT {value}"));
                format!("{column} {plain}{not_null}{identity}{default}")
            })
            .collect();
        let mut private = vec![keep_private("TABLE", &name.to_string())];
        private.extend(self.counter.map(|column| {
            let counter = name.sibling(Ident::new(format!("{}_{column}_seq", self.name)));
            keep_private("SEQUENCE", &counter.to_string())
        }));
        format!(
            "CREATE TABLE {name} ({}, PRIMARY KEY ({})) USING heap; {}; \
             COMMENT ON TABLE {name} IS {}",
            columns.join(", "),
            self.key.join(", "),
            private.join("; "),
            Text(self.comment)
        )
    }
}
