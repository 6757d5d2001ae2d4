//! Changes online and what is retained, on PostgreSQL 17 and 18: the stories that other files tell on 15.

use std::cell::Cell;

use store::testing::TemporaryPostgres;

use super::{backfill, completeness, contract, halfway, retained, support};

thread_local! {
    static VERSION: Cell<u32> = const { Cell::new(15) };
}

/// The server of the tests of this thread.
pub(super) fn server_now() -> &'static TemporaryPostgres {
    match VERSION.get() {
        15 => support::server(),
        version => completeness::server(version),
    }
}

/// Tells a story on a server of this version. A test has its runtime, and so all its databases, on its own thread.
fn on(version: u32, story: fn()) {
    VERSION.set(version);
    story();
    VERSION.set(15);
}

#[test]
fn backfills_by_any_key() {
    for version in [17, 18] {
        on(version, backfill::cuts_by_uuid_text_and_composite_keys);
    }
}

#[test]
fn contracts_and_goes_all_the_way_back() {
    for version in [17, 18] {
        on(
            version,
            contract::expands_backfills_contracts_and_goes_all_the_way_back,
        );
    }
}

#[test]
fn retains_partitions_and_values() {
    for version in [17, 18] {
        on(version, retained::keeps_partitions_and_partitioned_tables);
        on(
            version,
            retained::keeps_the_values_of_a_change_of_type_that_loses,
        );
    }
}

#[test]
fn undoes_what_stopped_half_way() {
    for version in [17, 18] {
        on(
            version,
            halfway::a_rollback_reverts_what_a_failed_script_had_applied,
        );
    }
}
