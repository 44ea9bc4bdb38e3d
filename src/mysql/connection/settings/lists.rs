//! What osc's sessions fix, and why. `docs/decisions/0020-session-settings.md` says what is left alone.

/// Which servers have a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum On {
    /// Both families, in all versions that osc works with.
    Both,
    /// MySQL from this version on, as in its executable comments.
    Mysql(u32),
    /// MariaDB from this version on.
    Mariadb(u32),
}

impl On {
    /// `text` for the servers concerned only.
    pub(crate) fn only(self, text: &str) -> String {
        match self {
            Self::Both => text.to_owned(),
            Self::Mysql(version) => format!(" /*!{version}{text} */"),
            Self::Mariadb(version) => format!(" /*M!{version}{text} */"),
        }
    }
}

/// A setting that osc fixes.
pub(crate) struct Fixed {
    pub(crate) name: &'static str,
    pub(crate) value: &'static str,
    pub(crate) on: On,
    /// What another value would do.
    #[cfg_attr(not(test), expect(dead_code, reason = "for readers, and for the tests"))]
    pub(crate) why: &'static str,
}

const fn both(name: &'static str, value: &'static str, why: &'static str) -> Fixed {
    Fixed { name, value, on: On::Both, why }
}

const fn my(name: &'static str, value: &'static str, why: &'static str) -> Fixed {
    Fixed { name, value, on: On::Mysql(80_013), why }
}

const fn my_since(at: u32, name: &'static str, value: &'static str, why: &'static str) -> Fixed {
    Fixed { name, value, on: On::Mysql(at), why }
}

const fn ma(name: &'static str, value: &'static str, why: &'static str) -> Fixed {
    Fixed { name, value, on: On::Mariadb(100_500), why }
}

const fn ma_since(at: u32, name: &'static str, value: &'static str, why: &'static str) -> Fixed {
    Fixed { name, value, on: On::Mariadb(at), why }
}

/// As many rows as there are.
const ALL_ROWS: &str = "18446744073709551615";

/// Every session: read definitions, the ledger and gauges; follow the binlog; look at and end others.
pub(crate) const EVERY: &[Fixed] = &[
    // How statements are read.
    both("autocommit", "1", "what is not meant to be a transaction would wait for a COMMIT"),
    both(
        "completion_type",
        "'NO_CHAIN'",
        "COMMIT would begin another transaction, or end the session",
    ),
    both(
        "sql_mode",
        "'STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION'",
        "ANSI_QUOTES and NO_BACKSLASH_ESCAPES read and show quotes in another way than osc's parser, \
         and the modes of other servers leave parts of definitions out",
    ),
    ma_since(101_100, "old", "0", "index hints would mean less"),
    ma("sql_if_exists", "0", "RENAME and DROP would pass over what is not there"),
    both("sql_auto_is_null", "0", "a search for NULL would find the last row"),
    both("sql_safe_updates", "0", "statements without a key's condition would be refused"),
    both("updatable_views_with_limit", "1", "nothing of osc's is a view; the server's default"),
    my("use_secondary_engine", "'OFF'", "FORCED refuses tables without a secondary engine"),
    // How they are limited.
    both("sql_select_limit", ALL_ROWS, "answers would be cut off"),
    both("max_join_size", ALL_ROWS, "comparisons would be refused as too large"),
    // After max_join_size, which switches it off.
    both("sql_big_selects", "1", "comparisons would be refused as too large"),
    both("group_concat_max_len", "1048576", "lists would be cut off"),
    both("max_sort_length", "4096", "long keys would be put in order by their beginning only"),
    both("sort_buffer_size", "2097152", "sorting would fail for want of memory"),
    my("parser_max_mem_size", ALL_ROWS, "long lists of keys would be refused"),
    my("range_optimizer_max_mem_size", "0", "long lists of keys would be looked up by a scan"),
    ma_since(101_108, "optimizer_max_sel_args", "16000", "long lists of keys would be scans"),
    ma_since(100_600, "optimizer_max_sel_arg_weight", "32000", "long lists of keys would be scans"),
    ma(
        "in_predicate_conversion_threshold",
        "0",
        "lists of keys would be compared as a table's rows",
    ),
    both("optimizer_switch", "'default'", "keys would be looked up by scans"),
    ma("max_session_mem_used", "9223372036854775807", "statements would fail for want of memory"),
    ma("tmp_disk_table_size", ALL_ROWS, "statements would fail for want of room"),
    both("big_tables", "0", "every answer would go by way of a file"),
    // How they are timed.
    my("max_execution_time", "0", "comparisons would be ended"),
    ma("max_statement_time", "0", "copies, comparisons and index builds would be ended"),
    both(
        "lock_wait_timeout",
        "5",
        "osc would queue behind an old transaction, and the application behind it",
    ),
    both("innodb_lock_wait_timeout", "5", "osc would wait for a row that another holds for long"),
    both("wait_timeout", "86400", "a session that osc keeps would be ended"),
    both("net_read_timeout", "600", "a long statement would be cut off"),
    both("net_write_timeout", "600", "a long answer would be cut off"),
    ma("idle_transaction_timeout", "0", "a session in a transaction would be ended"),
    ma("idle_readonly_transaction_timeout", "0", "a session in a transaction would be ended"),
    ma("idle_write_transaction_timeout", "0", "a session in a transaction would be ended"),
    my("information_schema_stats_expiry", "0", "counters and sizes would be a day old"),
    ma("query_cache_type", "0", "a comparison could be answered from memory"),
    // How tables are locked and rebuilt.
    both("old_alter_table", "0", "a change of metadata would rebuild its table, under a lock"),
    ma_since(
        101_100,
        "system_versioning_insert_history",
        "0",
        "copies would write what the server must write",
    ),
    ma("low_priority_updates", "0", "osc's lock would wait for all that read"),
    both("innodb_table_locks", "1", "LOCK TABLES would not wait for row locks"),
    ma_since(101_108, "innodb_snapshot_isolation", "0", "reads would fail while others write"),
    ma("skip_replication", "0", "replicas would pass osc's changes over"),
    // How they are shown.
    both(
        "sql_quote_show_create",
        "1",
        "definitions would have no quotes, and parts would not be found",
    ),
    my_since(
        80_018,
        "show_create_table_skip_secondary_engine",
        "0",
        "definitions would lack a part",
    ),
    my_since(
        80_011,
        "show_create_table_verbosity",
        "0",
        "definitions would have parts that are not theirs",
    ),
    my_since(
        80_030,
        "show_gipk_in_create_table_and_information_schema",
        "1",
        "a column and its key would be hidden",
    ),
    my_since(80_026, "terminology_use_previous", "'NONE'", "states would have other names"),
    both("lc_messages", "'en_US'", "rows and indexes are read out of messages"),
    both("sql_notes", "1", "values that were changed on the way would not be noted"),
    ma("max_error_count", "64", "warnings would be counted and not shown"),
    ma_since(101_108, "note_verbosity", "'basic'", "notes that are not about rows would count"),
    both("session_track_schema", "0", "answers would carry what osc does not read"),
    both("session_track_state_change", "0", "answers would carry what osc does not read"),
    both("session_track_system_variables", "''", "answers would carry what osc does not read"),
    both("session_track_transaction_info", "'OFF'", "answers would carry what osc does not read"),
    my("session_track_gtids", "'OFF'", "answers would carry what osc does not read"),
    my("resultset_metadata", "'FULL'", "answers would have no description"),
];

/// Copy, refresh, compare.
pub(crate) const ROWS: &[Fixed] = &[
    both("foreign_key_checks", "0", "rows would be checked against parents that may come later"),
    both("unique_checks", "1", "duplicates could go unseen"),
    ma("check_constraint_checks", "1", "rows that a new check forbids would be copied"),
    // Longer than the pool keeps an idle session, shorter than a frozen osc may keep the original's
    // metadata from a change.
    both("wait_timeout", "120", "a frozen osc would hold the original's metadata lock"),
];

/// Make the shadow, build indexes, swap, carry over what hangs on the table.
pub(crate) const CHANGES: &[Fixed] = &[
    both("foreign_key_checks", "0", "making a key again would read the whole table under a lock"),
    both("unique_checks", "1", "duplicates could go unseen"),
    ma("check_constraint_checks", "1", "rows that a new check forbids would pass"),
];

/// Hold the cut-over's locks. `wait_timeout` is the budget's.
pub(crate) const CUT_OVER: &[Fixed] = &[
    // START TRANSACTION would release LOCK TABLES without a word: this session never begins.
    both("autocommit", "0", "each refresh would be a transaction of its own"),
    both(
        "lock_wait_timeout",
        "1",
        "a frozen osc's request would hold the application up for longer",
    ),
    both("innodb_lock_wait_timeout", "1", "the locks would be held for longer"),
    both("net_read_timeout", "2", "the locks would be held while a statement does not come"),
    both("net_write_timeout", "2", "the locks would be held while an answer is not read"),
];
