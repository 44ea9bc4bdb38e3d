//! The tests of the tests: with a rule switched off (`src/testing/mutation.rs`) a test that is there for it fails,
//! and for its reason.
//!
//! A few go with every run of the tests. `scripts/broken-rules` does all, and writes
//! `docs/develop/mutations.md`.

use std::path::Path;
use std::process::Command;

use osc::testing::mutation::Rule;

/// A rule, a test that fails without it, and words that it fails with.
struct Case {
    rule: Rule,
    program: &'static str,
    test: &'static str,
    says: &'static str,
}

macro_rules! cases {
    ($list:ident $(#[$ignored:meta])? $($name:ident: $case:tt;)+) => {
        const $list: &[Case] = &[$(case!($case)),+];
        cases!(@tests $(#[$ignored])? $($name: $case;)+);
    };
    (@tests $($name:ident: $case:tt;)+) => {
        $(#[test]
        fn $name() {
            fails_without_its_rule(&case!($case));
        })+
    };
    (@tests #[$ignored:meta] $($name:ident: $case:tt;)+) => {
        $(#[test]
        #[$ignored]
        fn $name() {
            fails_without_its_rule(&case!($case));
        })+
    };
}

macro_rules! case {
    (($rule:ident, $program:ident, $test:literal, $says:literal)) => {
        Case { rule: Rule::$rule, program: stringify!($program), test: $test, says: $says }
    };
}

cases! { USUAL
    permission_first: (PermissionFirst, permission,
        "on_hold_nothing_happens_by_any_method_before_permission", "it ended before");
    copy_kept: (CopyKept, kept_runs,
        "mariadb::a_server_that_would_not_do_it_once_is_asked_again", "index.begun");
    permission_is_newer: (PermissionIsNewer, permission,
        "on_hold_nothing_happens_by_any_method_before_permission", "it ended before");
    stream_before_copy_mariadb: (StreamBeforeCopy, invariants_stream,
        "mariadb::the_stream_begins_before_the_copy", "lost or old");
    start_barrier_mariadb: (StartBarrier, invariants_stream,
        "mariadb::a_prepared_transaction_is_waited_for", "the copy did not wait");
    start_barrier_postgres: (StartBarrier, postgres_stream,
        "a_prepared_transaction_comes_when_it_is_committed_and_holds_the_barrier", "unwrap_err");
    snapshot_shows_postgres: (SnapshotShows, postgres_stream,
        "a_commit_that_readers_do_not_see_yet_is_waited_for", "not visible, reported to be");
    xa_at_commit_mariadb: (XaAtCommit, invariants_stream,
        "mariadb::a_prepared_transaction_is_refreshed_at_its_commit", "lost or old");
    late_commits_postgres: (LateCommits, postgres_triggers,
        "a_transaction_that_commits_late_is_not_overtaken", "[\"id = 11\"]");
    copied_refreshed_mariadb: (CopiedRefreshed, invariants_overlap,
        "mariadb::rows_move_across_the_copys_edge", "lost or old");
    applied_after_refresh_mariadb: (AppliedAfterRefresh, invariants_stream,
        "mariadb::a_key_that_was_not_refreshed_is_named_again_after_a_kill", "lost or old");
    deferred_held_postgres: (DeferredHeld, postgres_key_index,
        "a_killed_run_reads_again_what_waited_for_it", "bigint");
    deferred_refreshed_postgres: (DeferredRefreshed, postgres_key_index,
        "it_is_built_after_the_copy_and_what_changed_meanwhile_is_refreshed_then", "bigint");
    in_flight_waits_mariadb: (InFlightWaits, invariants_overlap,
        "mariadb::a_row_deleted_while_its_chunk_is_in_flight_stays_deleted", "came back");
    turns_taken_mariadb: (TurnsTaken, invariants_overlap,
        "mariadb::the_same_where_only_the_server_can_order_the_keys", "came back");
    repair_alone_mariadb: (RepairAlone, invariants_overlap,
        "mariadb::a_unique_value_moves_ahead_of_the_copy", "written beside the refresher");
    plain_insert_mariadb: (PlainInsert, invariants_overlap,
        "mariadb::a_unique_value_is_held_by_a_stale_row", "lost or old");
    strict_mariadb: (Strict, invariants,
        "mariadb::a_value_that_does_not_fit_is_named_and_never_bent", "MODIFY");
    differences_count_mariadb: (DifferencesCount, invariants,
        "mariadb::a_damaged_shadow_is_never_swapped_in", "code: Some(");
    shadow_watched_mariadb: (ShadowWatched, shadow_watch,
        "mariadb::rows_written_just_before_the_lock_are_written_again", "t and t_twin differ");
    writes_signed_mariadb: (WritesSigned, shadow_watch,
        "mariadb::nothing_of_its_own_is_taken_for_anothers", "other sessions wrote the shadow");
    same_not_equal_postgres: (SameNotEqual, postgres_verification,
        "values_that_are_equal_but_not_the_same_are_told_apart", "UPDATE shadow");
    no_read_locks_mariadb: (NoReadLocks, invariants,
        "mariadb::the_application_waits_for_no_chunk", "waits for the chunk");
    fenced_mariadb: (Fenced, invariants,
        "mariadb::an_attempt_that_was_taken_over_writes_nothing_more", "invariants.rs");
    retired_stays_mariadb: (RetiredStays, resume,
        "mariadb::the_same_command_finishes_a_swap_whose_clauses_no_longer_fit_the_table", "the retired table is gone");
    marker_awaited_mariadb: (MarkerAwaited, invariants_drain,
        "mariadb::writes_just_before_the_lock_are_drained", "writes");
    cut_over_alone_mariadb: (CutOverAlone, invariants_drain,
        "mariadb::no_cycle_is_under_way_beside_the_cut_over", "lost or old");
    counter_under_lock_mariadb: (CounterUnderLock, counters,
        "mariadb::ids_given_out_before_the_lock_are_not_given_out_again", "went back");
    pg_path_fixed: (PgPathFixed, postgres_sessions,
        "nothing_that_others_put_into_the_search_path_is_called", "were called");
    pg_operators_named: (PgOperatorsNamed, lib,
        "postgres::copy::statements::tests::a_key_is_compared_by_the_operators_of_its_type", "OPERATOR");
    pg_settings_fixed: (PgSettingsFixed, postgres_sessions,
        "a_whole_alter_goes_by_its_own_settings_and_converts_by_the_roles", "left: Some(");
    pg_role_values: (PgRoleValues, postgres_sessions,
        "a_whole_alter_goes_by_its_own_settings_and_converts_by_the_roles", "left");
    pg_lock_deadline: (PgLockDeadline, postgres_sessions,
        "the_server_ends_the_lock_of_a_frozen_cut_over", "waits for the lock of a frozen osc");
    pg_own_schema_checked: (PgOwnSchemaChecked, attacks_postgres,
        "a_schema_of_oscs_name_that_another_made_is_refused", "not refused");
    pg_swap_proved: (PgSwapProved, attacks_postgres,
        "a_swap_that_the_catalog_does_not_show_has_not_happened", "the forged row was believed");
    pg_drop_proved: (PgDropProved, attacks_postgres,
        "cleanup_drops_nothing_that_osc_did_not_make", "dropped");
    pg_functions_trusted: (PgFunctionsTrusted, attacks_functions,
        "the_owners_functions_are_not_run_by_a_superuser", "not refused");
    pg_resolved_trusted: (PgResolvedTrusted, attacks_functions,
        "what_is_made_after_the_words_were_looked_at_is_not_run", "not refused");
    pg_casts_trusted: (PgCastsTrusted, attacks_functions,
        "casts_count_where_the_type_is_used", "not refused");
    pg_domains_trusted: (PgDomainsTrusted, attacks_midrun,
        "domains_of_others_are_refused_wherever_they_are_read", "not refused");
    pg_triggers_cast_nothing: (PgTriggersCastNothing, attacks_midrun,
        "a_cast_that_is_made_in_mid_run_is_not_run_by_the_triggers", "is a superuser now");
    pg_shadow_owned: (PgShadowOwned, attacks_midrun,
        "no_one_hangs_anything_on_the_shadow", "the attacker may");
    objects_proved_writes: (ObjectsProved, attacks_midrun,
        "another_table_in_the_shadows_place_is_not_written", "is a superuser now");
    objects_proved_reads: (ObjectsProved, attacks_midrun,
        "a_view_in_the_originals_place_is_not_read", "is a superuser now");
    objects_proved_counters: (ObjectsProved, attacks_midrun,
        "a_view_in_the_place_of_a_sequence_is_not_read", "already exists");
    objects_proved_keys: (ObjectsProved, attacks_midrun,
        "a_check_in_the_place_of_a_foreign_key_is_not_validated", "is a superuser now");
    objects_proved_steps: (ObjectsProved, attacks_midrun,
        "a_check_in_the_place_of_one_that_is_being_added_is_not_validated", "is a superuser now");
    facts_proved_mariadb: (FactsProved, attacks_mysql,
        "mariadb::a_forged_row_reports_no_change_as_made", "an earlier attempt swapped");
    ledger_vetted_mysql: (LedgerVetted, attacks_mysql,
        "mysql::a_trigger_on_the_ledger_does_not_fire", "attacks_mysql/place.rs");
    long_offsets: (LongOffsets, lib,
        "mysql::binlog::position::tests::offsets_go_on_beyond_four_gibibytes", "panicked");
    rows_keep_their_own_mariadb: (RowsKeepTheirOwn, undo,
        "mariadb::an_undo_keeps_what_was_written_since", "a dropped column has its values again");
    columns_keep_their_own_mariadb: (ColumnsKeepTheirOwn, undo,
        "mariadb::an_undo_keeps_what_was_written_since", "digits that the new type has not");
    rows_keep_their_own_postgres: (RowsKeepTheirOwn, undo_postgres,
        "values::values_go_back_or_are_listed", "not [\"2|x|1\", \"3|NULL|0\", \"4|none|4\"]");
    columns_keep_their_own_postgres: (ColumnsKeepTheirOwn, undo_postgres,
        "values::values_go_back_or_are_listed", "not [\"1|2001-02-03 09:35:06.789+05:30|1\"");
    put_compared_postgres: (PutCompared, undo_postgres,
        "values::values_go_back_or_are_listed", "not id = 2: a value of c would not be the same after its way back");
    paired_by_record_postgres: (PairedByRecord, undo_postgres,
        "values::values_go_back_or_are_listed", "not [\"1|7|0\", \"2|8|0\"");
    guard_stays_postgres: (GuardStays, undo_postgres,
        "guard::no_other_session_writes_the_retired_table_while_rows_are_put", "unwrap_err");
    put_compared_mariadb: (PutCompared, undo,
        "mariadb::rows_that_cannot_go_back_are_all_listed_and_nothing_is_swapped", "DATETIME(6)");
    swap_in_log_mysql: (SwapInLog, undo_by_log,
        "mysql::what_is_written_before_the_run_has_ended_is_put", "0 put back");
    retired_kept_postgres: (RetiredKept, undo_window,
        "postgres::a_retired_table_is_kept_until_its_time_is_over", "undo until");
    paired_by_record_mariadb: (PairedByRecord, undo,
        "mariadb::an_undo_keeps_what_was_written_since", "a renamed column has its writes");
}

cases! { ASKED #[ignore = "scripts/broken-rules runs it"]
    stream_before_copy_mysql: (StreamBeforeCopy, invariants_stream,
        "mysql::the_stream_begins_before_the_copy", "lost or old");
    start_barrier_mysql: (StartBarrier, invariants_stream,
        "mysql::a_prepared_transaction_is_waited_for", "the copy did not wait");
    counter_under_lock_mysql: (CounterUnderLock, counters,
        "mysql::ids_given_out_before_the_lock_are_not_given_out_again", "went back");
    visible_first_mysql: (VisibleFirst, invariants_stream,
        "mysql::a_change_is_refreshed_when_it_is_visible", "lost or old");
    visible_first_mariadb: (VisibleFirst, invariants_stream,
        "mariadb::a_change_is_refreshed_when_it_is_visible", "lost or old");
    xa_at_commit_mysql: (XaAtCommit, invariants_stream,
        "mysql::a_prepared_transaction_is_refreshed_at_its_commit", "lost or old");
    xa_holds_position_mysql: (XaHoldsPosition, invariants_stream,
        "mysql::a_prepared_transaction_is_read_again_by_the_next_attempt", "lost or old");
    xa_holds_position_mariadb: (XaHoldsPosition, invariants_stream,
        "mariadb::a_prepared_transaction_is_read_again_by_the_next_attempt", "lost or old");
    copied_refreshed_mysql: (CopiedRefreshed, invariants_overlap,
        "mysql::rows_move_across_the_copys_edge", "lost or old");
    beyond_refreshed_mariadb: (BeyondRefreshed, invariants_overlap,
        "mariadb::rows_move_across_the_copys_edge", "lost or old");
    beyond_refreshed_mysql: (BeyondRefreshed, invariants_overlap,
        "mysql::rows_move_across_the_copys_edge", "lost or old");
    both_keys_mariadb: (BothKeys, invariants_overlap,
        "mariadb::rows_move_across_the_copys_edge", "came back");
    both_keys_mysql: (BothKeys, invariants_overlap,
        "mysql::rows_move_across_the_copys_edge", "came back");
    both_keys_postgres: (BothKeys, postgres_stream,
        "every_change_tells_its_keys", "name = 'a', id = 1");
    applied_after_refresh_mysql: (AppliedAfterRefresh, invariants_stream,
        "mysql::a_key_that_was_not_refreshed_is_named_again_after_a_kill", "lost or old");
    in_flight_waits_mysql: (InFlightWaits, invariants_overlap,
        "mysql::a_row_deleted_while_its_chunk_is_in_flight_stays_deleted", "came back");
    turns_taken_mysql: (TurnsTaken, invariants_overlap,
        "mysql::the_same_where_only_the_server_can_order_the_keys", "came back");
    repair_alone_mysql: (RepairAlone, invariants_overlap,
        "mysql::a_unique_value_moves_ahead_of_the_copy", "written beside the refresher");
    plain_insert_mysql: (PlainInsert, invariants_overlap,
        "mysql::a_unique_value_is_held_by_a_stale_row", "lost or old");
    plain_insert_data_refused_mariadb: (PlainInsert, data_refused,
        "mariadb::duplicates_are_named_and_the_original_untouched", "a collation that finds them equal");
    plain_insert: (PlainInsert, fidelity,
        "duplicates_for_a_new_unique_key_stop_the_run_and_are_named", "ADD UNIQUE KEY");
    no_replace_mysql: (NoReplace, data_refused,
        "mysql::duplicates_that_come_during_the_run_stop_it", "exit");
    no_replace_mariadb: (NoReplace, data_refused,
        "mariadb::duplicates_that_come_during_the_run_stop_it", "exit");
    strict_mysql: (Strict, invariants,
        "mysql::a_value_that_does_not_fit_is_named_and_never_bent", "MODIFY");
    warnings_count: (WarningsCount, fidelity,
        "values_that_do_not_fit_stop_the_run_and_are_named", "DECIMAL");
    copy_waits_mysql: (CopyWaits, invariants_overlap,
        "mysql::the_set_of_dirty_keys_is_bounded_and_the_copy_waits", "the copy did not wait");
    copy_waits_mariadb: (CopyWaits, invariants_overlap,
        "mariadb::the_set_of_dirty_keys_is_bounded_and_the_copy_waits", "the copy did not wait");
    set_bounded_mariadb: (SetBounded, invariants_overlap,
        "mariadb::the_set_of_dirty_keys_is_bounded_and_the_copy_waits", "keys");
    set_bounded_mysql: (SetBounded, invariants_overlap,
        "mysql::the_set_of_dirty_keys_is_bounded_and_the_copy_waits", "keys");
    only_copy_throttled_mysql: (OnlyCopyThrottled, invariants_overlap,
        "mysql::rows_move_across_the_copys_edge", "never came");
    differences_count_mysql: (DifferencesCount, invariants,
        "mysql::a_damaged_shadow_is_never_swapped_in", "code: Some(");
    shadow_watched_mysql: (ShadowWatched, shadow_watch,
        "mysql::rows_written_just_before_the_lock_are_written_again", "t and t_twin differ");
    writes_signed_mysql: (WritesSigned, shadow_watch,
        "mysql::nothing_of_its_own_is_taken_for_anothers", "other sessions wrote the shadow");
    shadow_watched_ddl_mysql: (ShadowWatched, shadow_watch,
        "mysql::so_does_ddl_just_before_the_lock", "left: Some(");
    differences_count_postgres: (DifferencesCount, postgres_verification,
        "a_damaged_shadow_is_never_swapped_in", "code: Some(");
    no_read_locks_mysql: (NoReadLocks, invariants,
        "mysql::the_application_waits_for_no_chunk", "locks rows of the original");
    lock_budget_mariadb: (LockBudget, cutover,
        "mariadb::an_open_transaction_puts_the_cut_over_off_and_no_session_waits_for_it", "Lock wait timeout exceeded");
    lock_budget_mysql: (LockBudget, cutover,
        "mysql::an_open_transaction_puts_the_cut_over_off_and_no_session_waits_for_it", "Lock wait timeout exceeded");
    lost_chunk_again_mysql: (LostChunkAgain, invariants,
        "mysql::a_chunk_whose_connection_is_killed_is_copied_once", "code: Some(");
    lost_chunk_again_mariadb: (LostChunkAgain, invariants,
        "mariadb::a_chunk_whose_connection_is_killed_is_copied_once", "code: Some(");
    fenced_mysql: (Fenced, invariants,
        "mysql::an_attempt_that_was_taken_over_writes_nothing_more", "invariants.rs");
    fenced_postgres: (Fenced, postgres_resume_dependents,
        "an_attempt_that_was_taken_over_writes_nothing_more", "postgres_resume_dependents.rs");
    commits_on_disk_postgres: (CommitsOnDisk, postgres_resume_dependents,
        "no_chunk_is_lost_when_the_server_crashes_in_the_midst_of_the_copy", "5000 12502500 bigint");
    retired_stays_mysql: (RetiredStays, resume,
        "mysql::the_same_command_finishes_a_swap_whose_clauses_no_longer_fit_the_table", "the retired table is gone");
    marker_awaited_mysql: (MarkerAwaited, invariants_drain,
        "mysql::writes_just_before_the_lock_are_drained", "writes");
    own_markers_only_mariadb: (OwnMarkersOnly, invariants_drain,
        "mariadb::a_marker_of_an_earlier_attempt_ends_no_drain", "writes");
    own_markers_only_mysql: (OwnMarkersOnly, invariants_drain,
        "mysql::a_marker_of_an_earlier_attempt_ends_no_drain", "writes");
    facts_proved_cleanup_mysql: (FactsProved, attacks_mysql,
        "mysql::cleanup_drops_no_table_that_osc_did_not_make", "attacks_mysql.rs");
    ledger_vetted_mariadb: (LedgerVetted, attacks_mysql,
        "mariadb::a_view_under_the_ledgers_name_is_not_opened", "attacks_mysql/place.rs");
    cut_over_alone_mysql: (CutOverAlone, invariants_drain,
        "mysql::no_cycle_is_under_way_beside_the_cut_over", "lost or old");
    never_begins_invariants_drain_mysql: (NeverBegins, invariants_drain,
        "mysql::writes_just_before_the_lock_are_drained", "writes");
    names_sort_after_mariadb: (NamesSortAfter, cutover,
        "readers_of_the_shadow_cost_no_write_at_the_swap_on_mariadb", "is only in t");
    retired_guarded_postgres: (RetiredGuarded, postgres_dependents,
        "statements_that_wait_for_the_swap_land_in_the_new_table_or_are_told_to_retry", "was lost");
    snapshot_guarded_postgres: (SnapshotGuarded, postgres_dependents,
        "the_snapshot_guard_stays_while_an_older_snapshot_is_open", "drop_if_over");
    looked_at_under_lock_postgres: (LookedAtUnderLock, postgres_cli,
        "what_another_session_adds_just_before_the_swap_is_not_lost", "CREATE VIEW late");
    dependents_follow_mysql: (DependentsFollow, resume_dependents,
        "mysql::everything_on_a_table_survives_under_writers", "users_osc_old");
    dependents_follow_mariadb: (DependentsFollow, resume_dependents,
        "mariadb::everything_on_a_table_survives_under_writers", "left behind");
    dependents_follow_postgres: (DependentsFollow, postgres_dependents,
        "a_dump_of_a_table_with_everything_on_it_is_the_same_after_a_swap", "panicked");
    foreign_told_mysql: (ForeignReported, stream_through_run,
        "mysql::what_others_do_to_the_tables_stops_the_run", "code: Some(");
    foreign_told_mariadb: (ForeignReported, stream_through_run,
        "mariadb::what_others_do_to_the_tables_stops_the_run", "panicked");
    foreign_told_postgres: (ForeignReported, postgres_stream,
        "truncate_and_ddl_end_the_run", "panicked");
    groups_whole_mariadb: (GroupsWhole, binlog_stream,
        "mariadb::every_commit_is_a_place_to_go_on_from", "panicked");
    groups_whole_mysql: (GroupsWhole, binlog_stream,
        "mysql::every_commit_is_a_place_to_go_on_from", "panicked");
    compressed_read_mysql: (CompressedRead, binlog_stream,
        "mysql::compressed_changes_are_read", "panicked");
    compressed_read_mariadb: (CompressedRead, binlog_stream,
        "mariadb::compressed_changes_are_read", "panicked");
    compressed_read_stream_through_run_mysql: (CompressedRead, stream_through_run,
        "mysql::compressed_and_minimal_changes_are_followed", "lost or old");
    renames_followed: (RenamesFollowed, fidelity,
        "renamed_columns_carry_their_data_in_every_spelling", "RENAME COLUMN a TO x");
    servers_zone: (ServersZone, fidelity,
        "zero_dates_and_time_zones_come_through_on_a_server_that_is_not_in_utc", "MODIFY c DATETIME");
    shown_as_text_mariadb: (ShownAsText, data_types,
        "mariadb::values_come_through_as_the_server_carries_them", "panicked");
    loss_seen_mariadb: (LossSeen, data_refused,
        "mariadb::what_would_be_lost_in_part_is_named_and_the_original_untouched", "and not 1");
    keys_padded_mysql: (KeysPadded, binlog_keys,
        "mysql::keys_are_those_that_a_select_gives", "BINARY(4)");
    images_together_mysql: (ImagesTogether, binlog_stream,
        "what_only_mysql_logs_is_read", "panicked");
    images_together_postgres: (ImagesTogether, postgres_stream,
        "a_key_that_is_stored_out_of_line_is_reported", "hides its key");
    applied_confirmed_postgres: (AppliedConfirmed, postgres_stream,
        "a_stream_resumes_where_it_was_confirmed_and_never_later", "panicked");
    identity_checked_postgres: (IdentityChecked, postgres_stream,
        "a_table_that_would_refuse_changes_is_not_published", "unwrap_err");
    invalid_seen_postgres: (InvalidSeen, postgres_retention,
        "the_same_command_resumes_with_an_index_that_an_unfinished_run_left", "panicked");
    sequences_typed_postgres: (SequencesTyped, attributes_postgres,
        "an_identity_sequence_ends_where_the_servers_own_would", "integer 2147483647");
    counters_locked_postgres: (CountersLocked, attributes_postgres,
        "a_number_is_given_out_once_whoever_draws_it_during_the_swap", "given out twice");
    indexes_placed_postgres: (IndexesPlaced, attributes_postgres,
        "a_table_that_has_everything_is_as_after_the_servers_own_alter", "osc_ts");
    unproved_later_postgres: (UnprovedLater, attributes_postgres,
        "a_check_that_is_not_valid_stays_so_and_stops_no_row", "violates check constraint");
    disabled_stay_postgres: (DisabledStay, attributes_postgres,
        "foreign_keys_whose_triggers_are_disabled_stay_so", "RI_FKey");
    refreshes_in_order_postgres: (RefreshesInOrder, postgres_resume_dependents,
        "a_refresh_that_outlives_its_connection_brings_nothing_back", "6000");
    server_ends_lock_mariadb: (ServerEndsLock, session_settings,
        "frozen::mariadb::a_frozen_osc_does_not_hold_the_application_up", "Elapsed");
    server_ends_lock_mysql: (ServerEndsLock, session_settings,
        "frozen::mysql::a_frozen_osc_does_not_hold_the_application_up", "Elapsed");
    settings_fixed_mariadb: (SettingsFixed, session_settings,
        "inputs::mariadb::a_stored_column_over_a_timestamp_keeps_its_value_under_ansi_quotes", "left: Some(");
    settings_fixed_mysql: (SettingsFixed, session_settings,
        "hostile::mysql::settings_that_are_fixed_do_not_matter", "left: Some(1)");
    role_stored_mariadb: (RoleStored, session_settings,
        "inputs::mariadb::a_later_attempt_converts_as_the_first_did", "2024-01-01 17:00");
    role_stored_mysql: (RoleStored, session_settings,
        "inputs::mysql::a_later_attempt_converts_as_the_first_did", "2024-01-01 17:00");
    long_rows_compared_mariadb: (LongRowsCompared, session_settings,
        "inputs::mariadb::a_row_longer_than_a_packet_is_compared", "right: Some(5)");
    long_rows_compared_mysql: (LongRowsCompared, session_settings,
        "inputs::mysql::a_row_longer_than_a_packet_is_compared", "right: Some(5)");
}

#[test]
fn every_rule_has_a_test_that_fails_without_it() {
    let all = || USUAL.iter().chain(ASKED);
    let without: Vec<&str> = Rule::ALL
        .iter()
        .filter(|rule| all().all(|case| case.rule != **rule))
        .map(|rule| rule.name())
        .collect();
    assert!(without.is_empty(), "no test fails without {without:?}");
}

/// Most of them run with `scripts/broken-rules` only.
#[test]
fn every_case_names_a_test_that_is_there() {
    let output = Command::new(this_program()).args(["--list", "--format", "terse"]).output();
    let listed = output.expect("a test program lists its tests").stdout;
    let listed = String::from_utf8_lossy(&listed);
    let cases = USUAL.iter().chain(ASKED).filter(|case| case.program != "lib");
    let missing: Vec<String> = cases
        .map(|case| format!("{}::{}", case.program, case.test))
        .filter(|path| !listed.lines().any(|line| line == format!("{path}: test")))
        .collect();
    assert!(missing.is_empty(), "no such tests: {missing:?}");
}

fn fails_without_its_rule(case: &Case) {
    let Case { rule, program, test, says } = case;
    let (executable, path) = match *program {
        "lib" => (library(), (*test).to_owned()),
        module => (this_program(), format!("{module}::{test}")),
    };
    // One that hangs without its rule has not failed for it.
    let output = Command::new("timeout")
        .args(["300", &executable, &path, "--exact", "--nocapture"])
        .env("OSC_BROKEN_RULE", rule.name())
        .env("RUST_BACKTRACE", "0")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("a test program runs");
    let printed = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(printed.contains("running 1 test"), "{program} has no {test}: {printed}");
    assert!(!output.status.success(), "{program}: {test} passes without {}", rule.name());
    assert!(
        printed.contains(says),
        "{test} fails for another reason than {}: {printed}",
        rule.name()
    );
    report(case, &printed);
}

fn this_program() -> String {
    let path = std::env::current_exe().expect("a program knows where it is");
    path.to_str().expect("a UTF-8 path").to_owned()
}

/// The program of the library's own tests, built as this one is.
fn library() -> String {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["test", "--no-run", "--quiet", "--message-format", "json", "--features"]);
    // Those of this program, or all would be rebuilt.
    let all = [
        ("faults", true),
        ("fuzzing", cfg!(feature = "fuzzing")),
        ("bench", cfg!(feature = "bench")),
    ];
    let features: Vec<&str> = all.into_iter().filter(|(_, is)| *is).map(|(name, _)| name).collect();
    cargo.arg(features.join(","));
    cargo.arg("--lib");
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    // What cargo tells this test of its package would have dependencies rebuilt that look at it.
    for (name, _) in std::env::vars() {
        if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|prefix| name.starts_with(prefix)) {
            cargo.env_remove(name);
        }
    }
    let output = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo runs");
    let messages = String::from_utf8_lossy(&output.stdout);
    let mut built = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["profile"]["test"] == true)
        .filter_map(|message| message["executable"].as_str().map(ToOwned::to_owned));
    built.next().unwrap_or_else(|| {
        panic!("the library's tests cannot be built: {}", String::from_utf8_lossy(&output.stderr))
    })
}

/// A line of the table, where one is wanted.
fn report(case: &Case, printed: &str) {
    let Some(folder) = std::env::var_os("OSC_BROKEN_RULES_TABLE") else { return };
    let mut lines = printed.lines().skip_while(|line| !line.contains("panicked at")).skip(1);
    // The line that has the words, or the first.
    let first = lines.clone().find(|line| line.contains(case.says)).or_else(|| lines.next());
    let shown: String = first.unwrap_or_default().trim().chars().take(120).collect();
    let line = format!(
        "| {} | `{}` | `{}: {}` | {} |\n",
        case.rule.words(),
        case.rule.name(),
        case.program,
        case.test,
        shown.replace('|', "\\|")
    );
    let at = Rule::ALL.iter().position(|rule| *rule == case.rule).unwrap_or_default();
    let file = format!("{at:03}-{}-{}", case.program, case.test.replace("::", "-"));
    std::fs::write(Path::new(&folder).join(file), line).expect("the folder is there");
}
