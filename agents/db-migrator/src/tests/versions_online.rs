//! Changes online, their abort, what is retained, tenants and roles, on PostgreSQL 17 and 18: the stories that other files
//! tell on 15.

use std::cell::Cell;

use store::testing::TemporaryPostgres;

use super::{
    abort, backfill, completeness, contract, expand, halfway, retained, roles, staging, support,
    tenants, tenants_reach, unmade,
};

thread_local! {
    static VERSION: Cell<u32> = const { Cell::new(15) };
}

/// The version of the server of the tests of this thread.
pub(super) fn version_now() -> u32 {
    VERSION.get()
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
fn changes_a_type_online() {
    for version in [17, 18] {
        on(
            version,
            expand::ends_with_the_catalog_of_a_plain_change_of_type,
        );
        on(
            version,
            expand::changes_a_primary_key_with_its_sequence_and_renames,
        );
    }
}

#[test]
fn validates_and_refuses_online() {
    for version in [17, 18] {
        on(version, expand::validates_constraints_without_a_long_lock);
        on(version, expand::refuses_by_name_what_hangs_on_the_column);
        on(version, expand::counts_what_the_old_column_cannot_hold);
    }
}

#[tokio::test]
async fn aborts_at_points_all_over_the_change() {
    for version in [17, 18] {
        VERSION.set(version);
        let points = abort::restores_everything(9).await;
        assert!(points >= 8, "only {points} points");
        VERSION.set(15);
    }
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
fn retains_tables_columns_and_rows() {
    for version in [17, 18] {
        on(version, staging::keeps_what_was_indexed_and_constrained);
        on(
            version,
            retained::keeps_several_tables_and_columns_and_what_depends_on_them,
        );
        on(version, retained::keeps_columns_with_numbers_of_their_own);
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
fn makes_rare_objects_again() {
    for version in [17, 18] {
        on(
            version,
            unmade::makes_operator_classes_conversions_and_languages_again,
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

#[test]
fn keeps_tenants_apart() {
    for version in [17, 18] {
        on(version, tenants::rolls_one_tenant_back_and_touches_no_other);
        on(version, tenants::says_drift_for_the_tenant_that_drifted);
        on(version, tenants::changes_a_column_online_for_each_tenant);
        on(version, tenants_reach::refuses_what_reaches_beyond_a_tenant);
    }
}

#[test]
fn needs_no_more_than_the_documented_rights() {
    for version in [17, 18] {
        on(version, roles::needs_no_more_than_the_documented_rights);
        on(version, roles::ends_the_backend_that_a_former_owner_left);
        on(version, roles::may_not_become_more_than_its_owner);
    }
}
