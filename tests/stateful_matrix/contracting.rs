//! Releases that take away, overwrite or stop half way.

use super::{
    app::Version,
    scene::{Approver, Expect, File, OLD, Release, SCENE, Scene, Then},
};

pub const RENAME: [File; 2] = [
    (
        "0002_remark.up.sql",
        "ALTER TABLE orders RENAME COLUMN note TO remark",
    ),
    (
        "0002_remark.down.sql",
        "ALTER TABLE orders RENAME COLUMN remark TO note",
    ),
];

pub const REMARK: Version = Version {
    probes: &[
        "INSERT INTO orders (customer, remark) VALUES ('probe', 'x')",
        "SELECT customer, remark FROM orders WHERE id < 9",
    ],
    write: "INSERT INTO orders (customer, code, qty, remark) VALUES ($1, 'c2', 2, 'note of ' || $1)",
    read: "SELECT customer, coalesce(code, '') || '|' || qty || '|' || coalesce(remark, '') FROM orders",
};

const REVERTED: Expect = Expect::Reverted(&["0002"]);

/// A release that renames a column.
const RENAMED: Scene = Scene {
    files: &RENAME,
    new: REMARK,
    expect: REVERTED,
    ..SCENE
};

const DROP: [File; 2] = [
    ("0002_drop.up.sql", "ALTER TABLE orders DROP COLUMN note"),
    (
        "0002_drop.down.sql",
        "ALTER TABLE orders ADD COLUMN note text",
    ),
];

const WITHOUT_NOTE: Version = Version {
    probes: &["INSERT INTO orders (customer) VALUES ('probe')"],
    write: "INSERT INTO orders (customer, code, qty) VALUES ($1, 'c2', 2)",
    read: "SELECT customer, code || '|' || qty FROM orders",
};

/// A release that drops a column.
const DROPPED: Scene = Scene {
    files: &DROP,
    new: WITHOUT_NOTE,
    alike: false,
    expect: REVERTED,
    ..SCENE
};

/// A version that knows nothing but orders.
const ORDERS_ONLY: Version = Version {
    probes: &["INSERT INTO orders (customer, note) VALUES ('probe', 'x')"],
    ..OLD
};

const STAGED: [File; 4] = [
    (
        "0002_units.up.sql",
        "ALTER TABLE orders ADD COLUMN units bigint",
    ),
    (
        "0002_units.down.sql",
        "ALTER TABLE orders DROP COLUMN units",
    ),
    ("0002_units.backfill.sql", "UPDATE orders SET units = qty"),
    (
        "0002_units.contract.sql",
        "ALTER TABLE orders DROP COLUMN qty",
    ),
];

const UNITS: Version = Version {
    probes: &["INSERT INTO orders (customer, units) VALUES ('probe', 3)"],
    write: "INSERT INTO orders (customer, code, units, note) VALUES ($1, 'c2', 2, 'note of ' || $1)",
    read: "SELECT customer, code || '|' || units || '|' || coalesce(note, '') FROM orders",
};

const ONLINE: [File; 1] = [(
    "0002_remark.up.sql",
    "-- migrate: online\nALTER TABLE orders RENAME COLUMN note TO remark",
)];

const OVERWRITE: [File; 2] = [
    (
        "0002_mark.up.sql",
        "UPDATE orders SET note = 'marked' WHERE customer LIKE 'old-%'",
    ),
    ("0002_mark.down.sql", "SELECT 1"),
];

const FORGET: [File; 2] = [
    (
        "0002_forget.up.sql",
        "DELETE FROM coupons WHERE name = 'winter'",
    ),
    ("0002_forget.down.sql", "SELECT 1"),
];

const HALF: [File; 2] = [
    (
        "0002_half.up.sql",
        "CREATE TABLE gifts (id bigint PRIMARY KEY);
         CREATE UNIQUE INDEX CONCURRENTLY coupons_name ON coupons (name);
         CREATE TABLE late (id bigint PRIMARY KEY)",
    ),
    (
        "0002_half.down.sql",
        "DROP TABLE late; DROP INDEX coupons_name; DROP TABLE gifts",
    ),
];

/// Nothing restores the rows of its first statement alone.
const HALF_STUCK: [File; 2] = [
    (
        "0002_half.up.sql",
        "INSERT INTO carts (item) SELECT name FROM coupons;
         CREATE UNIQUE INDEX CONCURRENTLY coupons_name ON coupons (name);
         CREATE TABLE late (id bigint PRIMARY KEY)",
    ),
    (
        "0002_half.down.sql",
        "DROP TABLE late; DROP INDEX coupons_name",
    ),
];

const SEVERAL: [File; 4] = [
    (
        "0002_channel.up.sql",
        "ALTER TABLE orders ADD COLUMN channel text",
    ),
    (
        "0002_channel.down.sql",
        "ALTER TABLE orders DROP COLUMN channel",
    ),
    (
        "0003_remark.up.sql",
        "ALTER TABLE orders RENAME COLUMN note TO remark",
    ),
    (
        "0003_remark.down.sql",
        "ALTER TABLE orders RENAME COLUMN remark TO note",
    ),
];

const SEVERAL_LOSSY: [File; 4] = [
    RENAME[0],
    RENAME[1],
    ("0003_kind.up.sql", "ALTER TABLE coupons DROP COLUMN name"),
    (
        "0003_kind.down.sql",
        "ALTER TABLE coupons ADD COLUMN name text NOT NULL DEFAULT 'lost'",
    ),
];

pub const SCENES: &[Scene] = &[
    Scene {
        name: "renamed",
        ..RENAMED
    },
    Scene {
        name: "renamed-unused",
        rows: 0,
        ..RENAMED
    },
    Scene {
        name: "renamed-read-meanwhile",
        then: &[Then::Reader],
        ..RENAMED
    },
    Scene {
        name: "renamed-for-a-neighbour",
        then: &[Then::Neighbour("0002", 1)],
        expect: Expect::Refused("needs schema 0002"),
        ..RENAMED
    },
    Scene {
        name: "renamed-for-a-neighbour-that-rests",
        then: &[Then::Neighbour("0002", 0)],
        ..RENAMED
    },
    Scene {
        name: "renamed-below-another",
        then: &[Then::OnTop(&[
            ("0003_more.up.sql", "ALTER TABLE carts ADD COLUMN more text"),
            ("0003_more.down.sql", "ALTER TABLE carts DROP COLUMN more"),
        ])],
        expect: Expect::Refused("is on top of 0002"),
        ..RENAMED
    },
    Scene {
        name: "renamed-and-released-again",
        then: &[Then::ReleasedAgain],
        expect: Expect::Refused("was released on top of revision 2"),
        ..RENAMED
    },
    Scene {
        name: "renamed-and-drifted",
        then: &[Then::Sql("ALTER TABLE carts ADD COLUMN by_hand text")],
        expect: Expect::Waits(0),
        ..RENAMED
    },
    Scene {
        name: "renamed-and-drifted-signed",
        then: &[Then::Sql("ALTER TABLE carts ADD COLUMN by_hand text")],
        approver: Approver::Signs,
        expect: Expect::Undone("rollback-coordinator cannot use db-migrator"),
        ..RENAMED
    },
    Scene {
        name: "renamed-with-a-wrong-down",
        files: &[
            RENAME[0],
            (
                "0002_remark.down.sql",
                "ALTER TABLE orders RENAME COLUMN remark TO notes",
            ),
        ],
        ..RENAMED
    },
    Scene {
        name: "renamed-online",
        files: &ONLINE,
        ..RENAMED
    },
    Scene {
        name: "dropped",
        ..DROPPED
    },
    Scene {
        name: "dropped-not-retained",
        retain: Some("none"),
        expect: Expect::Waits(0),
        ..DROPPED
    },
    Scene {
        name: "dropped-not-retained-signed",
        retain: Some("none"),
        approver: Approver::Signs,
        restored: false,
        expect: Expect::Approved(&["0002"], 0),
        ..DROPPED
    },
    Scene {
        name: "dropped-window-over",
        retain: Some("PT1S"),
        then: &[Then::Sql("SELECT pg_sleep(1.2)")],
        expect: Expect::Waits(0),
        ..DROPPED
    },
    Scene {
        name: "dropped-for-good",
        then: &[Then::Purge],
        expect: Expect::Refused("was dropped for good"),
        ..DROPPED
    },
    Scene {
        name: "dropped-table",
        files: &[
            ("0002_drop.up.sql", "DROP TABLE coupons"),
            (
                "0002_drop.down.sql",
                "CREATE TABLE coupons (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, name text NOT NULL)",
            ),
        ],
        new: ORDERS_ONLY,
        expect: REVERTED,
        ..SCENE
    },
    Scene {
        name: "contract-pending",
        files: &STAGED,
        new: UNITS,
        alike: false,
        ..SCENE
    },
    Scene {
        name: "contract-done-unused",
        files: &STAGED,
        new: UNITS,
        rows: 0,
        alike: false,
        then: &[Then::Complete],
        expect: Expect::Reverted(&["0002.contract", "0002"]),
        ..SCENE
    },
    Scene {
        name: "contract-done",
        files: &STAGED,
        new: UNITS,
        alike: false,
        then: &[Then::Complete],
        expect: Expect::Waits(5),
        ..SCENE
    },
    Scene {
        name: "overwritten",
        files: &OVERWRITE,
        alike: false,
        expect: REVERTED,
        ..SCENE
    },
    Scene {
        name: "overwritten-twice",
        files: &OVERWRITE,
        alike: false,
        then: &[Then::Sql(
            "UPDATE orders SET note = 'again' WHERE customer = 'old-1'",
        )],
        expect: Expect::Waits(1),
        ..SCENE
    },
    Scene {
        name: "deleted",
        files: &FORGET,
        new: ORDERS_ONLY,
        expect: REVERTED,
        ..SCENE
    },
    Scene {
        name: "half-way",
        files: &HALF,
        release: Release::HalfWay,
        expect: REVERTED,
        ..SCENE
    },
    Scene {
        name: "half-way-and-stuck",
        files: &HALF_STUCK,
        release: Release::HalfWay,
        expect: Expect::Refused("stands in the way of undoing it"),
        ..SCENE
    },
    Scene {
        name: "several",
        files: &SEVERAL,
        new: REMARK,
        schema: (Some("0001"), Some("0003")),
        expect: Expect::Reverted(&["0003", "0002"]),
        ..SCENE
    },
    Scene {
        name: "several-one-lossy",
        files: &SEVERAL_LOSSY,
        retain: Some("none"),
        new: REMARK,
        schema: (Some("0001"), Some("0003")),
        expect: Expect::Waits(0),
        ..SCENE
    },
    Scene {
        name: "several-one-lossy-retained",
        files: &SEVERAL_LOSSY,
        new: REMARK,
        schema: (Some("0001"), Some("0003")),
        expect: Expect::Reverted(&["0003", "0002"]),
        ..SCENE
    },
];
