//! Numbers of filters and payloads, compared without rounding integers.
//!
//! Ids of 19 digits are common in payloads; as floats two of them would be equal that are not.

use std::cmp::Ordering;

use serde_json::Value;

/// Longest text that is taken for a number, bytes.
const TEXT_BYTES_MAX: usize = 64;

/// A finite number.
#[derive(Debug, Clone, Copy)]
pub(super) enum Number {
    Integer(i128),
    /// Never an infinity, never not a number.
    Float(f64),
}

impl Number {
    /// The number a value is: a number, or a text that is one.
    pub(super) fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Number(number) => Self::of_json(number),
            Value::String(text) => Self::of_text(text),
            _ => None,
        }
    }

    /// A number of JSON.
    pub(super) fn of_json(number: &serde_json::Number) -> Option<Self> {
        if let Some(integer) = number.as_i64() {
            return Some(Self::Integer(integer.into()));
        }
        if let Some(integer) = number.as_u64() {
            return Some(Self::Integer(integer.into()));
        }
        number.as_f64().and_then(Self::float)
    }

    /// A text in decimal notation, nothing around it: no hexadecimals, no `inf`.
    pub(super) fn of_text(text: &str) -> Option<Self> {
        let is_decimal = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
        if text.len() > TEXT_BYTES_MAX || !text.as_bytes().iter().all(is_decimal) {
            return None;
        }
        match text.parse::<i128>() {
            Ok(integer) => Some(Self::Integer(integer)),
            Err(_) => text.parse().ok().and_then(Self::float),
        }
    }

    fn float(float: f64) -> Option<Self> {
        float.is_finite().then_some(Self::Float(float))
    }

    /// Equal numbers look the same so: an integer wherever it is one that we hold.
    pub(super) fn canonical(self) -> Self {
        match self {
            Self::Float(float) if float.fract() == 0.0 && is_held(float) => {
                #[allow(
                    clippy::cast_possible_truncation,
                    reason = "whole, and within the range of the integers"
                )]
                let integer = float as i128;
                Self::Integer(integer)
            }
            number => number,
        }
    }

    /// Which of the two is larger, exactly.
    pub(super) fn compare(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::Integer(a), Self::Integer(b)) => a.cmp(&b),
            // Finite: there is always an order.
            (Self::Float(a), Self::Float(b)) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
            (Self::Integer(a), Self::Float(b)) => integer_with_float(a, b),
            (Self::Float(a), Self::Integer(b)) => integer_with_float(b, a).reverse(),
        }
    }
}

/// 2 to the power of 127: from here on a float is larger than any integer we hold.
const INTEGERS_END: f64 = 170_141_183_460_469_231_731_687_303_715_884_105_728.0;

/// Whether the whole part of a float is an integer that we hold.
fn is_held(float: f64) -> bool {
    (-INTEGERS_END..INTEGERS_END).contains(&float)
}

fn integer_with_float(integer: i128, float: f64) -> Ordering {
    if float >= INTEGERS_END {
        return Ordering::Less;
    }
    if float < -INTEGERS_END {
        return Ordering::Greater;
    }
    let whole = float.trunc();
    #[allow(
        clippy::cast_possible_truncation,
        reason = "whole, and within the range of the integers by the two lines above"
    )]
    let order = integer.cmp(&(whole as i128));
    order.then_with(|| {
        0.0_f64
            .partial_cmp(&(float - whole))
            .unwrap_or(Ordering::Equal)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn order(a: Value, b: Value) -> Option<Ordering> {
        Some(Number::of(&a)?.compare(Number::of(&b)?))
    }

    #[test]
    fn what_is_no_decimal_number_is_none() {
        for value in [
            json!(""),
            json!("0x10"),
            json!("inf"),
            json!("NaN"),
            json!("1e999"),
            json!(" 1"),
            json!("1 "),
            json!("e"),
            json!("--1"),
            json!("1".repeat(65)),
            json!(true),
            json!(null),
            json!([1]),
            json!({"a": 1}),
        ] {
            assert!(Number::of(&value).is_none(), "{value}");
        }
    }

    #[test]
    fn integers_are_not_rounded() {
        let (low, high) = (
            json!(9_007_199_254_740_992_i64),
            json!(9_007_199_254_740_993_i64),
        );
        assert_eq!(order(low.clone(), high.clone()), Some(Ordering::Less));
        assert_eq!(
            order(json!("9007199254740993"), high),
            Some(Ordering::Equal)
        );
        assert_eq!(
            order(json!(9_007_199_254_740_992.0), low),
            Some(Ordering::Equal)
        );
        assert_eq!(
            order(json!(u64::MAX), json!(i64::MAX)),
            Some(Ordering::Greater)
        );
        let long = "340282366920938463463374607431768211456"; // 2^128: a float
        assert_eq!(order(json!(long), json!(u64::MAX)), Some(Ordering::Greater));
        assert_eq!(
            order(json!(format!("-{long}")), json!(0)),
            Some(Ordering::Less)
        );
    }

    #[test]
    fn fractions_count() {
        assert_eq!(order(json!(1), json!(1.5)), Some(Ordering::Less));
        assert_eq!(order(json!(-1), json!(-1.5)), Some(Ordering::Greater));
        assert_eq!(order(json!("10"), json!(10.0)), Some(Ordering::Equal));
        assert_eq!(order(json!("1e1"), json!(10)), Some(Ordering::Equal));
        assert_eq!(order(json!(0), json!(-0.0)), Some(Ordering::Equal));
    }

    proptest! {
        #[test]
        fn the_order_is_one_order(a in any::<i64>(), b in any::<f64>(), c in any::<i32>()) {
            prop_assume!(b.is_finite());
            let (x, y) = (Number::Integer(a.into()), Number::Float(b));
            prop_assert_eq!(x.compare(y), y.compare(x).reverse());
            prop_assert_eq!(Number::Integer(c.into()).compare(Number::Float(c.into())), Ordering::Equal);
        }
    }
}
