//! How long a client is willing to wait: the header `grpc-timeout`.

use std::time::Duration;

use axum::http::HeaderMap;

use crate::api::problem::Problem;

const HEADER: &str = "grpc-timeout";

/// The longest time that is told from none.
const LONGEST: Duration = Duration::from_secs(600);

/// The time that the client gives the call; none when it sets none. It is at most eight digits and a unit.
pub(super) fn of(headers: &HeaderMap) -> Result<Option<Duration>, Problem> {
    let Some(value) = headers.get(HEADER) else { return Ok(None) };
    let wrong =
        || Problem::bad_parameter(HEADER, format!("{value:?} is not up to eight digits and one of H M S m u n"));
    let text = value.to_str().map_err(|_| wrong())?;
    let (digits, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let time = match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return Err(wrong()),
    };
    Ok(Some(time.min(LONGEST)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_and_a_unit() {
        let read = |value: &'static str| {
            of(&HeaderMap::from_iter([(HEADER.parse().expect("a name"), value.parse().expect("a value"))]))
        };
        for (value, ms) in [("1S", 1000), ("250m", 250), ("3000u", 3), ("99999999H", 600_000), ("0n", 0)] {
            assert_eq!(read(value).expect("fine"), Some(Duration::from_millis(ms)), "{value}");
        }
        assert_eq!(of(&HeaderMap::new()).expect("fine"), None);
        for value in ["", "S", "1", "1s", "-1S", "123456789S", "1.5S", "1é"] {
            assert!(read(value).is_err(), "{value}");
        }
    }
}
