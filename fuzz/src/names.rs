//! Names and keys: what is quoted or encoded comes back as it was.

use osc::key::{Key, KeyOrder};
use osc::mysql::catalog::key::{KeyColumn, KeyColumns, KeyKind, KeyValue};
use osc::mysql::commands::arguments as mysql_arguments;
use osc::mysql::lexer::{Dialect, tokens};
use osc::mysql::name as mysql;
use osc::postgres::catalog::key as postgres_key;
use osc::postgres::commands::arguments;
use osc::postgres::name as postgres;

/// A table as the command line names it, and any name between quotes.
pub(crate) fn name(bytes: &[u8]) {
    let Some(text) = super::text(bytes) else { return };
    let _ = mysql_arguments::change(text, Some("FORCE"));
    let _ = arguments::change(text, Some("ADD a int"));
    if let Ok(named) = mysql_arguments::table(text)
        && let Some(schema) = &named.schema
    {
        let quoted = mysql::TableName::new(&**schema, &*named.table).to_string();
        let again = mysql_arguments::table(&quoted);
        assert_eq!(again.unwrap_or_else(|error| panic!("{error}: {quoted}")), named);
    }
    if let Ok(named) = arguments::table(text)
        && let Some(schema) = &named.schema
    {
        let name = postgres::TableName::new(&**schema, &*named.table);
        for typed in [name.to_string(), name.plain()] {
            assert_eq!(arguments::table(&typed).as_ref().ok(), Some(&named));
        }
    }
    let ident = mysql::Ident::new(text);
    let quoted = ident.to_string();
    let read = tokens(&quoted, Dialect::default()).expect("a quoted name");
    assert_eq!(read.iter().map(|token| token.ident()).collect::<Vec<_>>(), [Some(ident)]);
    let literal = mysql::Text(text).to_string();
    assert!(
        tokens(&literal, Dialect::default()).is_ok_and(|read| (1..=2).contains(&read.len())),
        "{literal}"
    );
    let helpers = mysql::Helpers::of(&mysql::TableName::new("s", text.get(..64).unwrap_or("t")));
    assert_ne!(helpers.shadow, helpers.retired);
    let short = postgres::Ident::new(text).with_suffix("_osc_new");
    assert!(short.as_str().len() <= postgres::Ident::MAX_BYTES);
}

/// Keys: bytes taken as a key, and as values of one.
pub(crate) fn key(bytes: &[u8]) {
    let (Some((first, rest)), text) = (bytes.split_first(), String::from_utf8_lossy(bytes)) else {
        return;
    };
    mysql_key(*first, rest);
    let kinds = [20, 21, 23, 26, 2950, 25];
    let column = |type_oid| postgres_key::KeyColumn {
        name: postgres::Ident::new("c"),
        type_sql: "text".into(),
        type_oid,
        kind: postgres_key::KeyKind::of(type_oid),
    };
    let two = usize::from(*first) % 36;
    let columns = postgres_key::KeyColumns(vec![column(kinds[two / 6]), column(kinds[two % 6])]);
    if let Ok(values) = columns.decode(&Key(rest.into())) {
        let texts: Vec<Option<&str>> = values.iter().map(|value| Some(value.as_str())).collect();
        assert_eq!(columns.encode(&texts).expect("values of a key").0.as_ref(), rest);
    }
    let (a, b) = text.split_once('\n').unwrap_or((&text, "1"));
    if let Ok(key) = columns.encode(&[Some(a), Some(b)]) {
        assert!(columns.decode(&key).is_ok());
        assert!(columns.literals(&key).is_ok());
    }
}

fn mysql_key(first: u8, rest: &[u8]) {
    let int = KeyKind::Int { bytes: 8, unsigned: first & 1 != 0 };
    let column =
        |kind, descending| KeyColumn { name: mysql::Ident::new("c"), ordinal: 0, kind, descending };
    let columns = KeyColumns(vec![
        column(KeyKind::Binary { pad: None }, first & 2 != 0),
        column(int, first & 4 != 0),
    ]);
    let _ = columns.describe(&Key(rest.into()));
    let Some((number, raw)) = rest.split_first_chunk::<8>() else { return };
    let number = u64::from_le_bytes(*number);
    let (number, signed) = (KeyValue::UInt(number), KeyValue::Int(number.cast_signed()));
    let number = if first & 1 != 0 { number } else { signed };
    let (low, high) = raw.split_at(raw.len() / 2);
    let values = |raw: &[u8]| [KeyValue::Bytes(raw.to_vec()), number.clone()];
    let encode = |raw| columns.encode(&values(raw)).expect("values of these columns");
    assert_eq!(columns.decode(&encode(low)).expect("a key"), values(low));
    assert_eq!(columns.order(), KeyOrder::Bytes);
    let order = encode(low).cmp(&encode(high));
    assert_eq!(if first & 2 != 0 { order.reverse() } else { order }, low.cmp(high));
    for kind in [KeyKind::Decimal, KeyKind::Uuid, KeyKind::Bit, KeyKind::Time { fraction: 3 }] {
        let one = column(kind, false);
        if let Some(value) = super::text(raw).and_then(|text| one.value(text).ok()) {
            let _ = one.literal(&value);
        }
    }
}
