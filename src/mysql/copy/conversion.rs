//! What becomes of a value whose column gets another type.
//!
//! The server's own ALTER hands a value from field to field: between numbers as a number, between dates
//! and times as such, and everything else as the text that it is shown as. INSERT … SELECT does so only
//! in part, so that each pair of kinds has here the expression with which it does; what the value is
//! then, as an expression over both tables; and the condition under which nothing of it is lost, where
//! the server says nothing of a loss. A pair that has no right answer is refused.

use super::members::{all_stay, enum_index, set_mask};
use crate::mysql::catalog::kind::Kind;
use crate::mysql::catalog::table::Column;
use crate::mysql::connection::version::Flavor;
use crate::testing::mutation::{self, Rule};

/// How a column's values are carried over and compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Conversion {
    /// What is selected of the original.
    pub value: String,
    /// What the shadow has then, in bytes, as an expression over the original.
    pub expected: String,
    /// What the shadow has, in bytes, as an expression over the shadow.
    pub found: String,
    /// The condition over the original without which a value would lose something.
    pub fits: Option<String>,
    /// What the values lose by the new type itself, as they do with the server's own ALTER.
    pub note: Option<String>,
}

/// Why a pair of types is refused.
type Refused = &'static str;

/// Both columns and what the rules need of them.
struct Pair<'a> {
    old: &'a Column,
    new: &'a Column,
    from: Kind,
    to: Kind,
    /// The old column's name.
    o: String,
    /// The new column's name.
    n: String,
    flavor: Flavor,
}

/// How `old` becomes `new`.
///
/// # Errors
/// Why it cannot.
pub(super) fn conversion(old: &Column, new: &Column, flavor: Flavor) -> Result<Conversion, String> {
    let (o, n) = (old.name.to_string(), new.name.to_string());
    if old.column_type == new.column_type && old.charset == new.charset {
        let fits = None;
        return Ok(Conversion {
            expected: plain(old),
            found: plain(new),
            value: o,
            fits,
            note: None,
        });
    }
    let pair = Pair { old, new, from: Kind::of(old), to: Kind::of(new), o, n, flavor };
    let converted = match pair.to {
        Kind::Text => pair.to_text(),
        Kind::Bytes => pair.to_bytes(),
        Kind::Int => pair.to_int(),
        Kind::Bit => pair.to_bit(),
        Kind::Year => pair.to_year(),
        Kind::Decimal => pair.to_decimal(),
        Kind::Float | Kind::Double => pair.to_real(),
        Kind::Date | Kind::DateTime | Kind::Time => pair.to_temporal(),
        Kind::Enum | Kind::Set => pair.to_label(),
        Kind::Json => pair.to_json(),
        Kind::Opaque | Kind::Address => pair.to_opaque(),
        Kind::Other => Err("osc does not know this type"),
    };
    converted.map_err(|why| {
        format!("column {}: {} cannot become {}: {why}", old.name, old.column_type, new.column_type)
    })
}

/// The expression whose bytes are the value, exactly.
fn plain(column: &Column) -> String {
    let name = &column.name;
    match Kind::of(column) {
        Kind::Float | Kind::Double | Kind::Bit => format!("{name}+0"),
        Kind::Json => format!("CAST({name} AS CHAR)"),
        Kind::Opaque => format!("HEX({name})"),
        _ => name.to_string(),
    }
}

const NOT_A_NUMBER: Refused = "its values are no numbers";
const NOT_A_TIME: Refused = "its values are no dates or times";
const NOT_TEXT: Refused = "its values have no text";
const OF_THE_DAY: Refused = "a time has no date, and would get that of the day of the copy";
const DATE_LOST: Refused = "the date would be lost";

impl Pair<'_> {
    /// The old column as it is, with the same expression compared on both sides.
    fn bare(&self, expected: String, found: String) -> Conversion {
        Conversion { value: self.o.clone(), expected, found, fits: None, note: None }
    }

    /// The old value as the server shows it. By itself a FLOAT would go into text as a DOUBLE, with
    /// digits that it never had, and YEAR and ZEROFILL without their zeros.
    fn shown(&self) -> String {
        let carried = !mutation::active(Rule::ShownAsText);
        match self.from {
            kind if kind.is_number() && carried => format!("CONCAT({})", self.o),
            _ => self.o.clone(),
        }
    }

    /// The old value as text, for comparing.
    fn text(&self) -> String {
        match self.from {
            Kind::Text | Kind::Bytes | Kind::Enum | Kind::Set => self.o.clone(),
            Kind::Address => format!("CAST({} AS CHAR)", self.o),
            Kind::Bit if !self.bits_are_bytes() => {
                format!("CAST(CAST({} AS UNSIGNED) AS CHAR)", self.o)
            }
            _ => format!("CONCAT({})", self.o),
        }
    }

    /// Whether a BIT goes as its bytes, as it does into TEXT and BLOB, and not as its number.
    fn bits_are_bytes(&self) -> bool {
        self.new.data_type.ends_with("text") || self.new.data_type.ends_with("blob")
    }

    /// The old value as a number without binary fractions, except for one that has them.
    fn number(&self) -> Result<String, Refused> {
        Ok(match self.from {
            kind if kind.is_number() || kind.is_temporal() || kind.is_label() => {
                format!("({}+0)", self.o)
            }
            // Adding 0 would make the 64th bit a sign, and on MySQL a floating-point number.
            Kind::Bit => format!("CAST({} AS UNSIGNED)", self.o),
            kind if kind.is_string() => format!("(CAST({} AS DECIMAL(65,30))+0)", self.o),
            _ => return Err(NOT_A_NUMBER),
        })
    }

    fn to_text(&self) -> Result<Conversion, Refused> {
        if matches!(self.from, Kind::Opaque | Kind::Other) {
            return Err(NOT_TEXT);
        }
        let charset = self.new.charset.as_deref().ok_or("it has no character set")?;
        let wide = matches!(charset, "ucs2" | "utf16" | "utf16le" | "utf32");
        let bytes = self.from == Kind::Bytes || self.from == Kind::Bit && self.bits_are_bytes();
        if bytes && wide {
            return Err("bytes are no text of this character set");
        }
        let expected = format!("CONVERT({} USING {charset})", self.text());
        let n = &self.n;
        // CHAR drops trailing spaces.
        let (expected, found) = if self.new.data_type == "char" {
            (format!("TRIM(TRAILING ' ' FROM {expected})"), format!("TRIM(TRAILING ' ' FROM {n})"))
        } else {
            (expected, n.clone())
        };
        Ok(Conversion { value: self.shown(), ..self.bare(expected, found) })
    }

    fn to_bytes(&self) -> Result<Conversion, Refused> {
        let (expected, found) = match self.from {
            Kind::Other => return Err("osc does not know its type"),
            // BINARY is filled up with zeros, and their text is longer than what is trimmed.
            Kind::Opaque | Kind::Address => {
                let hex = |text: String| format!("TRIM(TRAILING '0' FROM HEX({text}))");
                (hex(self.o.clone()), hex(self.n.clone()))
            }
            _ => {
                let bytes = format!("CAST({} AS BINARY)", self.text());
                if self.new.data_type == "binary" {
                    let trimmed = |text: &str| format!("TRIM(TRAILING X'00' FROM {text})");
                    (trimmed(&bytes), trimmed(&self.n))
                } else {
                    (bytes, self.n.clone())
                }
            }
        };
        Ok(Conversion { value: self.shown(), ..self.bare(expected, found) })
    }

    /// Whole numbers: what has a fraction does not fit, though the server would round it.
    fn to_int(&self) -> Result<Conversion, Refused> {
        let number = self.number()?;
        let found = format!("({}+0)", self.n);
        if matches!(self.from, Kind::Int | Kind::Year | Kind::Bit | Kind::Enum | Kind::Set) {
            return Ok(self.bare(number, found));
        }
        let sign = if self.new.unsigned() { "UNSIGNED" } else { "SIGNED" };
        let expected = if self.from.is_real() {
            // As a DOUBLE it would be shown with an exponent.
            format!("CAST({number} AS {sign})")
        } else {
            format!("(ROUND({number})+0)")
        };
        let fits = if self.from.is_string() && self.flavor.is_mariadb() {
            // It reads nothing else as a whole number: not 1.0, and not 1e2.
            format!("CONVERT({} USING utf8mb4) REGEXP '^ *[-+]?[0-9]+ *$'", self.o)
        } else {
            format!("{number} = ROUND({number})")
        };
        Ok(Conversion { fits: Some(fits), ..self.bare(expected, found) })
    }

    fn to_bit(&self) -> Result<Conversion, Refused> {
        let number = self.number()?;
        let found = format!("CAST({} AS UNSIGNED)", self.n);
        let value = match self.from {
            // By itself a text would give its bytes.
            kind if kind.is_string() => format!("CAST({} AS UNSIGNED)", self.o),
            kind if kind.is_temporal() => number.clone(),
            _ => self.o.clone(),
        };
        let exact =
            matches!(self.from, Kind::Int | Kind::Year | Kind::Bit | Kind::Enum | Kind::Set);
        let whole = if exact { number.clone() } else { format!("ROUND({number})") };
        // Beyond that the server rounds without a word.
        let most = if self.from.is_real() {
            format!(" AND {number} < {}", 1_u64 << 63)
        } else {
            String::new()
        };
        let fits = (!exact).then(|| format!("{number} = ROUND({number}){most}"));
        Ok(Conversion { value, fits, ..self.bare(format!("CAST({whole} AS UNSIGNED)"), found) })
    }

    fn to_year(&self) -> Result<Conversion, Refused> {
        if self.from.is_temporal() {
            return Err("month, day and time would be lost");
        }
        let number = self.number()?;
        let whole = format!("ROUND({number})");
        // A year of two digits; as text, zero is one too unless it has four bytes.
        let zero = if self.from.is_string() {
            format!("WHEN {whole} = 0 AND LENGTH({}) <> 4 THEN 2000 ", self.o)
        } else {
            String::new()
        };
        let expected = format!(
            "CAST(CASE {zero}WHEN {whole} BETWEEN 1 AND 69 THEN {whole}+2000 \
             WHEN {whole} BETWEEN 70 AND 99 THEN {whole}+1900 ELSE {whole} END AS SIGNED)"
        );
        let fits = Some(format!("{number} = ROUND({number})"));
        Ok(Conversion { fits, ..self.bare(expected, format!("({}+0)", self.n)) })
    }

    fn to_decimal(&self) -> Result<Conversion, Refused> {
        let to = decimal(self.new).ok_or("osc does not know its digits")?;
        let found = format!("({}+0)", self.n);
        let expected = format!("(CAST({} AS {to})+0)", self.number()?);
        let o = &self.o;
        // The server reports lost digits; of a binary fraction it does even where there are none.
        let fits = match self.from {
            Kind::Float => format!("CAST(CAST({o} AS {to}) AS FLOAT) = {o}"),
            Kind::Double => format!("CAST({o} AS {to})+0e0 = {o}"),
            _ => return Ok(self.bare(expected, found)),
        };
        self.floats()?;
        let value = format!("CAST({o} AS {to})");
        Ok(Conversion { value, fits: Some(fits), ..self.bare(expected, found) })
    }

    fn to_real(&self) -> Result<Conversion, Refused> {
        self.floats()?;
        let digits = digits_of(self.new);
        let stored = |number: &str| {
            let number = digits.map_or(number.to_owned(), |d| format!("ROUND({number}, {d})"));
            match self.to {
                Kind::Float => format!("CAST({number} AS FLOAT)+0e0"),
                _ => format!("{number}+0e0"),
            }
        };
        let number = self.number()?;
        let o = &self.o;
        // The number as it would be read back, in the old type.
        let most = 9_007_199_254_740_992_i64;
        let fits = match self.from {
            // Beyond that only multiples of what is between two neighbours.
            Kind::Int | Kind::Bit if self.to == Kind::Double && digits.is_none() => {
                Some(format!("({number} BETWEEN -{most} AND {most} OR {number} % 2048 = 0)"))
            }
            Kind::Int | Kind::Bit if self.to == Kind::Float => Some(format!(
                "({number} BETWEEN -{most} AND {most} OR {number} % 2048 = 0) AND {} = {number}+0e0",
                stored(&number)
            )),
            Kind::Int | Kind::Bit => Some(format!("{number} BETWEEN -{most} AND {most}")),
            Kind::Decimal => {
                let scale = digits_of(self.old).unwrap_or(0);
                Some(format!("CAST({} AS DECIMAL(65,{scale})) = {o}", stored(o)))
            }
            Kind::Float if digits.is_some() => Some(format!("CAST({} AS FLOAT) = {o}", stored(o))),
            Kind::Double => Some(match digits_of(self.old) {
                Some(digits) => format!("ROUND({}, {digits}) = {o}", stored(o)),
                None => format!("{} = {o}", stored(o)),
            }),
            kind if kind.is_temporal() => {
                Some(format!("CAST({} AS DECIMAL(20,6)) = {number}", stored(&number)))
            }
            kind if kind.is_string() && digits.is_some() => {
                Some(format!("ROUND({}, {}) = {number}", stored(o), digits.unwrap_or(0)))
            }
            _ => None,
        };
        let value = match digits {
            // A DOUBLE goes into another as it is, whatever digits that has.
            Some(digits) if self.from.is_real() => format!("ROUND({o}, {digits})"),
            _ => o.clone(),
        };
        let expected = match self.from {
            kind if kind.is_string() => stored(o),
            _ => stored(&number),
        };
        let note = self.from.is_string().then(|| {
            let digits = if self.to == Kind::Float { 6 } else { 15 };
            format!(
                "column {o}: of each number, {} keeps about {digits} digits",
                self.new.column_type
            )
        });
        Ok(Conversion { value, fits, note, ..self.bare(expected, format!("{}+0e0", self.n)) })
    }

    /// Casts to FLOAT are newer than the type.
    fn floats(&self) -> Result<(), Refused> {
        let asked = [self.from, self.to].contains(&Kind::Float);
        if asked && !self.flavor.is_mariadb() && !self.flavor.at_least(8, 0, 17) {
            return Err("before MySQL 8.0.17 it cannot be compared");
        }
        Ok(())
    }

    fn to_temporal(&self) -> Result<Conversion, Refused> {
        let value = match self.from {
            Kind::Time if self.to != Kind::Time => return Err(OF_THE_DAY),
            Kind::Date | Kind::DateTime if self.to == Kind::Time => return Err(DATE_LOST),
            Kind::Date | Kind::DateTime | Kind::Time | Kind::Text | Kind::Bytes => self.o.clone(),
            Kind::Enum | Kind::Set => format!("CONCAT({})", self.o),
            kind if kind.is_real() => return Err("a floating-point number is not exact enough"),
            Kind::Year if self.flavor.is_mariadb() => return Err("a year is no date and no time"),
            // MariaDB reads a number as digits of a date, MySQL the text of the number.
            kind if kind.is_number() && self.flavor.is_mariadb() => self.o.clone(),
            kind if kind.is_number() => format!("CONCAT({})", self.o),
            _ => return Err(NOT_A_TIME),
        };
        let fraction = self.new.fraction;
        let to = match self.to {
            Kind::Date => "DATE".to_owned(),
            Kind::Time => format!("TIME({fraction})"),
            _ => format!("DATETIME({fraction})"),
        };
        let expected = format!("CAST({value} AS {to})");
        let note = (self.to != Kind::Date && self.old.fraction > fraction).then(|| {
            format!("column {}: fractions of a second are rounded to {fraction} digits", self.o)
        });
        let o = &self.o;
        let fits = match (self.from, self.to) {
            // Without a time a moment is a day; just before midnight it would be the next.
            (Kind::DateTime, Kind::Date) => {
                Some(format!("TIME_TO_SEC({o}) = 0 AND MICROSECOND({o}) = 0"))
            }
            // Some texts that are no time the server stores as zero.
            (kind, Kind::Time) if kind.is_string() || kind.is_label() => {
                Some(format!("({o} IS NULL OR {expected} IS NOT NULL)"))
            }
            _ => None,
        };
        Ok(Conversion { value, note, fits, ..self.bare(expected, self.n.clone()) })
    }

    /// Members are found by the new column's collation. The server also takes a text that is no
    /// member as a member's number: such a row does not fit.
    fn to_label(&self) -> Result<Conversion, Refused> {
        let position = |column: &str| match self.to {
            Kind::Set => format!("CAST({column} AS UNSIGNED)"),
            _ => format!("({column}+0)"),
        };
        let found = position(&self.n);
        match self.from {
            Kind::Bit | Kind::Opaque | Kind::Address | Kind::Other => {
                return Err("its values are no names of members");
            }
            // Here MariaDB takes a number as a member's place, MySQL as its name.
            Kind::Int | Kind::Year if self.flavor.is_mariadb() => {
                return Ok(self.bare(position(&self.o), found));
            }
            kind if kind.is_number() && self.flavor.is_mariadb() => {
                return Err("only a whole number is a member's place");
            }
            _ => {}
        }
        let charset = self.new.charset.as_deref().ok_or("it has no character set")?;
        let collation = self.new.collation.as_deref().ok_or("it has no collation")?;
        let text = format!(
            "TRIM(TRAILING ' ' FROM CONVERT({} USING {charset}) COLLATE {collation})",
            self.text()
        );
        let expected = match self.to {
            Kind::Set => set_mask(self.new, &text),
            _ => enum_index(self.new, &text),
        };
        let stay = self.from.is_label() && all_stay(self.old, self.new);
        let fits = (!stay).then(|| format!("({expected} > 0 OR {text} = '')"));
        let value = if self.from.is_number() { self.text() } else { self.o.clone() };
        Ok(Conversion { value, fits, ..self.bare(expected, found) })
    }

    fn to_json(&self) -> Result<Conversion, Refused> {
        let value = match self.from {
            Kind::Text | Kind::Enum | Kind::Set => self.o.clone(),
            kind if kind.is_number() => self.text(),
            kind if kind.is_temporal() => return Err("a date or time is no JSON text"),
            _ => return Err("bytes are no JSON text"),
        };
        // Of a member itself it would be a JSON text.
        let text = if self.from.is_label() { format!("CONCAT({})", self.o) } else { self.text() };
        let expected = format!("CAST(CAST({text} AS JSON) AS CHAR)");
        Ok(Conversion { value, ..self.bare(expected, format!("CAST({} AS CHAR)", self.n)) })
    }

    fn to_opaque(&self) -> Result<Conversion, Refused> {
        let hex = |name: &str| format!("HEX({name})");
        let alike = match self.to {
            Kind::Address => self.old.data_type == self.new.data_type,
            // VECTORs among themselves, and spatial types.
            _ => self.from == self.to && self.old.is_spatial() == self.new.is_spatial(),
        };
        match self.from {
            Kind::Bytes => Ok(self.bare(hex(&self.o), hex(&self.n))),
            Kind::Text if self.to == Kind::Address => {
                let to = self.new.data_type.to_uppercase();
                Ok(self.bare(format!("HEX(CAST({} AS {to}))", self.o), hex(&self.n)))
            }
            _ if alike => Ok(self.bare(hex(&self.o), hex(&self.n))),
            _ => Err("the server knows no such conversion"),
        }
    }
}

/// The type of a DECIMAL without its attributes, for a cast.
pub(super) fn decimal(column: &Column) -> Option<String> {
    let (arguments, _) = column.column_type.strip_prefix("decimal")?.split_once(')')?;
    Some(format!("DECIMAL{arguments})"))
}

/// The digits after the point of a DECIMAL, FLOAT(M,D) or DOUBLE(M,D).
fn digits_of(column: &Column) -> Option<u8> {
    let (_, arguments) = column.column_type.split_once('(')?;
    let (arguments, _) = arguments.split_once(')')?;
    arguments.split_once(',')?.1.trim().parse().ok()
}
