//! What a client may ask for: checked once, at the door.

use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};

use crate::problem::Problem;

/// The header of `draft-ietf-httpapi-idempotency-key-header`.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// One million in minor units of the currencies we take: above it a person should look at the payment.
pub const LARGEST_AMOUNT: i64 = 100_000_000;

const LONGEST_KEY: usize = 255;

/// The currencies the shop takes (ISO 4217), all of them with two decimal places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Currency {
    /// Euro.
    Eur,
    /// Pound sterling.
    Gbp,
    /// United States dollar.
    Usd,
}

impl Currency {
    /// The three letters.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Eur => "EUR",
            Self::Gbp => "GBP",
            Self::Usd => "USD",
        }
    }
}

/// A payment as a client asks for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewPayment {
    /// The order it is for.
    pub order_id: i64,
    /// Minor units (cents, pence) of `currency`; an integer, because money is not a floating-point number.
    pub amount: i64,
    /// Which currency.
    pub currency: Currency,
}

impl NewPayment {
    /// Checks what the types cannot.
    ///
    /// # Errors
    ///
    /// 422, naming the field.
    pub fn validate(&self) -> Result<(), Problem> {
        if self.order_id < 1 {
            return Err(Problem::unprocessable(
                "invalid_order_id",
                "order_id must be positive",
            ));
        }
        if !(1..=LARGEST_AMOUNT).contains(&self.amount) {
            return Err(Problem::unprocessable(
                "invalid_amount",
                format!("amount must be between 1 and {LARGEST_AMOUNT} minor units"),
            ));
        }
        Ok(())
    }
}

/// The name a client gave to one attempt to pay.
///
/// The same key with the same body gets the same answer and pays once; with another body it is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// Takes the key from the request's headers.
    ///
    /// The draft has it as a structured string, in double quotes; most clients send it bare. Both are taken,
    /// and mean the same key.
    ///
    /// # Errors
    ///
    /// 400 if it is missing, there is more than one, or it is not a key.
    pub fn from_headers(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
        let Some(value) = values.next() else {
            return Err(Problem::bad_request(
                "idempotency_key_missing",
                "a payment needs an Idempotency-Key header, so that a repeated request pays once",
            ));
        };
        let text = value.to_str().unwrap_or_default();
        let bare = text
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
            .unwrap_or(text);
        let fits = !bare.is_empty()
            && bare.len() <= LONGEST_KEY
            && bare
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'));
        if values.next().is_some() || !fits {
            return Err(Problem::bad_request(
                "idempotency_key_invalid",
                format!(
                    "Idempotency-Key must be one value of 1 to {LONGEST_KEY} visible ASCII characters"
                ),
            ));
        }
        Ok(Self(bare.to_owned()))
    }

    /// The key without its quotes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn key(values: &[&str]) -> Result<String, &'static str> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(IDEMPOTENCY_KEY, HeaderValue::from_str(value).unwrap());
        }
        IdempotencyKey::from_headers(&headers)
            .map(|key| key.as_str().to_owned())
            .map_err(|problem| problem.code())
    }

    #[test]
    fn a_key_is_taken_bare_or_quoted() {
        assert_eq!(key(&["abc-1"]), Ok("abc-1".into()));
        assert_eq!(key(&[r#""abc-1""#]), Ok("abc-1".into()));
    }

    #[test]
    fn no_key_two_keys_and_what_is_no_key_are_refused() {
        assert_eq!(key(&[]), Err("idempotency_key_missing"));
        let long = "k".repeat(LONGEST_KEY + 1);
        for wrong in [
            &["a", "b"][..],
            &[""],
            &[r#""""#],
            &["a b"],
            &[r#"""#],
            &[&long],
        ] {
            assert_eq!(key(wrong), Err("idempotency_key_invalid"), "{wrong:?}");
        }
        assert!(key(&[&long[1..]]).is_ok());
    }

    #[test]
    fn an_amount_is_an_integer_within_bounds() {
        for (amount, fine) in [
            (i64::MIN, false),
            (-1, false),
            (0, false),
            (1, true),
            (LARGEST_AMOUNT, true),
            (LARGEST_AMOUNT + 1, false),
            (i64::MAX, false),
        ] {
            let payment = NewPayment {
                order_id: 1,
                amount,
                currency: Currency::Eur,
            };
            assert_eq!(payment.validate().is_ok(), fine, "{amount}");
        }
        for body in [
            r#"{"order_id":1,"amount":1.5,"currency":"EUR"}"#,
            r#"{"order_id":1,"amount":"15","currency":"EUR"}"#,
            r#"{"order_id":1,"amount":15,"currency":"eur"}"#,
            r#"{"order_id":1,"amount":15,"currency":"XXX"}"#,
            r#"{"order_id":1,"amount":15,"currency":"EUR","tip":1}"#,
            r#"{"order_id":1,"amount":15}"#,
        ] {
            assert!(serde_json::from_str::<NewPayment>(body).is_err(), "{body}");
        }
    }
}
