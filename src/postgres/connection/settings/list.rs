//! What becomes of each setting that a session can have.

/// What becomes of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Every session of osc has this value; a purpose may need another one, which it sets itself.
    Fixed(&'static str),
    /// The role's while values are converted, and while the user's words are read.
    Role,
    /// The role's or the server's everywhere: it changes nothing that osc relies on.
    Left,
}

/// Fixed in the startup packet: every supported version has them, and every role may set them.
pub(crate) const STARTUP: &[(&str, &str)] = &[
    // How a statement is read. With this path only pg_catalog's operators and functions are found.
    ("search_path", "pg_catalog, pg_temp"),
    ("standard_conforming_strings", "on"),
    ("backslash_quote", "safe_encoding"),
    ("escape_string_warning", "off"),
    ("transform_null_equals", "off"),
    ("array_nulls", "on"),
    ("xmloption", "content"),
    ("check_function_bodies", "on"),
    // How keys and definitions are rendered: two sessions must give the same text for the same row.
    ("DateStyle", "ISO, YMD"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
    ("quote_all_identifiers", "off"),
    // Limits that the role has are for the application. No session holds a lock for ever, though: a session
    // of osc's that is frozen inside a transaction is ended by the server.
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_session_timeout", "0"),
    ("idle_in_transaction_session_timeout", "60s"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "off"),
    ("default_transaction_deferrable", "off"),
    // Rows that a policy would hide are an error, and not left out.
    ("row_security", "off"),
    ("gin_fuzzy_search_limit", "0"),
    ("exit_on_error", "off"),
    ("client_min_messages", "error"),
    // What is committed is on disk, and waits for no standby.
    ("synchronous_commit", "local"),
    // Where tables go is in their definitions.
    ("default_tablespace", ""),
    ("default_table_access_method", "heap"),
    // How statements are planned: by index, and with what they were measured with. Compiling a query of
    // the catalog takes longer than running it.
    ("jit", "off"),
    ("plan_cache_mode", "auto"),
    ("constraint_exclusion", "partition"),
    ("enable_bitmapscan", "on"),
    ("enable_hashagg", "on"),
    ("enable_hashjoin", "on"),
    ("enable_indexonlyscan", "on"),
    ("enable_indexscan", "on"),
    ("enable_material", "on"),
    ("enable_mergejoin", "on"),
    ("enable_nestloop", "on"),
    ("enable_partition_pruning", "on"),
    ("enable_sort", "on"),
    ("enable_tidscan", "on"),
    // A client that is gone without a word gives its locks back.
    ("tcp_keepalives_idle", "30"),
    ("tcp_keepalives_interval", "10"),
    ("tcp_keepalives_count", "3"),
];

/// Fixed after the login, where the server has them and they are otherwise: a role that may not set one
/// is refused, for osc could not rely on what it sees.
pub(crate) const LATER: &[(&str, &str)] = &[
    ("transaction_timeout", "0"),
    ("restrict_nonsystem_relation_kind", ""),
    // Triggers that the server itself makes for foreign keys must fire.
    ("session_replication_role", "origin"),
    // What the server did on an empty copy is read from its counters.
    ("track_counts", "on"),
    ("track_activities", "on"),
    // A damaged page is an error, and no empty one.
    ("zero_damaged_pages", "off"),
    // So is a composite value that no longer fits its type.
    ("composite_type_mismatch", "error"),
    ("ignore_checksum_failure", "off"),
];

/// The role's, with what osc's sessions have otherwise; `None`: the same, since nothing of osc's depends on
/// it.
pub(crate) const ROLE: &[(&str, Option<&str>)] = &[
    ("DateStyle", Some("ISO, YMD")),
    ("IntervalStyle", Some("postgres")),
    ("TimeZone", Some("UTC")),
    ("extra_float_digits", Some("3")),
    ("bytea_output", Some("hex")),
    ("array_nulls", Some("on")),
    ("xmloption", Some("content")),
    ("transform_null_equals", Some("off")),
    ("xmlbinary", None),
    ("lc_monetary", None),
    ("lc_numeric", None),
    ("lc_time", None),
    ("default_text_search_config", None),
    ("default_toast_compression", None),
    ("timezone_abbreviations", None),
];

/// Left as they are, by reason.
const LEFT: &[(&str, &[&str])] = &[
    ("the driver sets it: UTF8", &["client_encoding", "application_name"]),
    (
        "follows from its default_ brother",
        &["transaction_isolation", "transaction_read_only", "transaction_deferrable"],
    ),
    (
        "estimates and plans that change only time",
        &[
            "backend_flush_after",
            "cpu_index_tuple_cost",
            "cpu_operator_cost",
            "cpu_tuple_cost",
            "cursor_tuple_fraction",
            "effective_cache_size",
            "effective_io_concurrency",
            "enable_async_append",
            "enable_distinct_reordering",
            "enable_gathermerge",
            "enable_group_by_reordering",
            "enable_incremental_sort",
            "enable_memoize",
            "enable_parallel_append",
            "enable_parallel_hash",
            "enable_partitionwise_aggregate",
            "enable_partitionwise_join",
            "enable_presorted_aggregate",
            "enable_self_join_elimination",
            "enable_seqscan",
            "from_collapse_limit",
            "geqo",
            "geqo_effort",
            "geqo_generations",
            "geqo_pool_size",
            "geqo_seed",
            "geqo_selection_bias",
            "geqo_threshold",
            "io_combine_limit",
            "jit_above_cost",
            "jit_dump_bitcode",
            "jit_expressions",
            "jit_inline_above_cost",
            "jit_optimize_above_cost",
            "jit_tuple_deforming",
            "jit_debugging_support",
            "jit_profiling_support",
            "join_collapse_limit",
            "maintenance_io_concurrency",
            "max_parallel_maintenance_workers",
            "max_parallel_workers",
            "max_parallel_workers_per_gather",
            "min_parallel_index_scan_size",
            "min_parallel_table_scan_size",
            "parallel_leader_participation",
            "parallel_setup_cost",
            "parallel_tuple_cost",
            "random_page_cost",
            "recursive_worktable_factor",
            "seq_page_cost",
            "synchronize_seqscans",
            "debug_parallel_query",
            "force_parallel_mode",
            "default_statistics_target",
            "file_copy_method",
            "wal_skip_threshold",
        ],
    ),
    (
        "memory and files as the operator allows them; a limit that is met is an error",
        &[
            "gin_pending_list_limit",
            "hash_mem_multiplier",
            "logical_decoding_work_mem",
            "maintenance_work_mem",
            "max_stack_depth",
            "temp_buffers",
            "temp_file_limit",
            "temp_tablespaces",
            "vacuum_buffer_usage_limit",
            "work_mem",
        ],
    ),
    (
        "how VACUUM and ANALYZE of the shadow go about it",
        &[
            "vacuum_cost_delay",
            "vacuum_cost_limit",
            "vacuum_cost_page_dirty",
            "vacuum_cost_page_hit",
            "vacuum_cost_page_miss",
            "vacuum_failsafe_age",
            "vacuum_freeze_min_age",
            "vacuum_freeze_table_age",
            "vacuum_max_eager_freeze_failure_rate",
            "vacuum_multixact_failsafe_age",
            "vacuum_multixact_freeze_min_age",
            "vacuum_multixact_freeze_table_age",
            "vacuum_truncate",
        ],
    ),
    (
        "what the server writes into its log, and in which language it speaks",
        &[
            "backtrace_functions",
            "compute_query_id",
            "debug_pretty_print",
            "debug_print_parse",
            "debug_print_plan",
            "debug_print_raw_parse",
            "debug_print_rewritten",
            "lc_messages",
            "log_btree_build_stats",
            "log_duration",
            "log_error_verbosity",
            "log_executor_stats",
            "log_lock_failures",
            "log_lock_waits",
            "log_min_duration_sample",
            "log_min_duration_statement",
            "log_min_error_statement",
            "log_min_messages",
            "log_parameter_max_length",
            "log_parameter_max_length_on_error",
            "log_parser_stats",
            "log_planner_stats",
            "log_replication_commands",
            "log_statement",
            "log_statement_sample_rate",
            "log_statement_stats",
            "log_temp_files",
            "log_transaction_sample_rate",
            "md5_password_warnings",
            "trace_locks",
            "trace_lwlocks",
            "trace_notify",
            "trace_sort",
            "trace_userlocks",
            "track_cost_delay_timing",
            "track_functions",
            "track_io_timing",
            "track_wal_io_timing",
            "update_process_title",
        ],
    ),
    (
        "how the server writes its WAL and reads its code: an administrator's",
        &[
            "allow_in_place_tablespaces",
            "allow_system_table_mods",
            "commit_delay",
            "commit_siblings",
            "createrole_self_grant",
            "deadlock_timeout",
            "debug_discard_caches",
            "debug_logical_replication_streaming",
            "dynamic_library_path",
            "event_triggers",
            "extension_control_path",
            "extension_destdir",
            "icu_validation_level",
            "local_preload_libraries",
            "lo_compat_privileges",
            "output_plugin_libraries",
            "password_encryption",
            "scram_iterations",
            "session_preload_libraries",
            "wal_compression",
            "wal_consistency_checking",
            "wal_init_zero",
            "wal_recycle",
            "ssl_renegotiation_limit",
        ],
    ),
    (
        "the stream sets it for itself; a session's own statistics are read once",
        &["wal_sender_timeout", "stats_fetch_consistency"],
    ),
    (
        "the server's end of the connection, which keepalives watch",
        &["client_connection_check_interval", "tcp_user_timeout"],
    ),
];

/// What becomes of a setting; `None`: the list does not know it.
pub fn class(name: &str) -> Option<Class> {
    if ROLE.iter().any(|(known, _)| *known == name) {
        return Some(Class::Role);
    }
    let mut fixed = STARTUP.iter().chain(LATER);
    if let Some((_, value)) = fixed.find(|(known, _)| *known == name) {
        return Some(Class::Fixed(value));
    }
    LEFT.iter().any(|(_, names)| names.contains(&name)).then_some(Class::Left)
}

#[cfg(test)]
pub(crate) fn names() -> Vec<&'static str> {
    let fixed = STARTUP.iter().chain(LATER).map(|(name, _)| *name);
    let role = ROLE.iter().filter(|(_, base)| base.is_none()).map(|(name, _)| *name);
    fixed.chain(role).chain(LEFT.iter().flat_map(|(_, names)| names.iter().copied())).collect()
}
