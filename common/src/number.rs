//! Redis's numbers as text: which texts count as numbers, and how numbers are printed.

/// Reads a decimal integer as strictly as Redis does: no blanks, no plus sign, no leading zeros, no `-0`.
#[must_use]
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'0'] => return Some(0),
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    if !matches!(digits.first(), Some(b'1'..=b'9')) || digits.len() > 19 {
        return None;
    }
    let mut magnitude: u64 = 0;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        // Nineteen digits always fit.
        magnitude = magnitude * 10 + u64::from(digit);
    }
    if negative { 0i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() }
}

/// Room for any number this module prints.
const FLOAT_TEXT_BYTES: usize = 48;

/// Space to print a float into, so that printing allocates nothing.
pub struct FloatText {
    bytes: [u8; FLOAT_TEXT_BYTES],
    len: usize,
}

impl Default for FloatText {
    fn default() -> Self {
        Self::new()
    }
}

impl FloatText {
    /// Empty space.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: [0; FLOAT_TEXT_BYTES], len: 0 }
    }

    /// `value` as C's `%.17g` prints it: how Redis 7.0 prints scores and RESP3 doubles.
    pub fn format_17g(&mut self, value: f64) -> &str {
        self.len = 0;
        if value.is_nan() {
            self.put(if value.is_sign_negative() { b"-nan" } else { b"nan" });
        } else if value.is_infinite() {
            self.put(if value < 0.0 { b"-inf" } else { b"inf" });
        } else if value == value.trunc() && value.abs() < 1e17 {
            // Seventeen digits hold every such integer, so %.17g prints it plainly.
            if value == 0.0 && value.is_sign_negative() {
                self.put(b"-");
            }
            self.put(itoa::Buffer::new().format(value as i64).as_bytes());
        } else {
            self.put_digits(value);
        }
        self.text()
    }

    /// Lays out seventeen significant digits the way `%g` does: trailing zeros dropped, an exponent of at least
    /// two digits where the number is below 1e-4 or has more than seventeen digits before the point.
    fn put_digits(&mut self, value: f64) {
        let mut scientific = FloatText::new();
        // Infallible: at most 24 bytes.
        let _ = std::fmt::Write::write_fmt(&mut scientific, format_args!("{:.16e}", value.abs()));
        let (mantissa, exponent) = scientific.text().split_once('e').unwrap_or(("0", "0"));
        let exponent: i32 = exponent.parse().unwrap_or(0);
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let mut digits = [0; 17];
        digits[0] = whole.as_bytes()[0];
        digits[1..1 + fraction.len()].copy_from_slice(fraction.as_bytes());
        let used = digits.iter().rposition(|&digit| digit > b'0').map_or(1, |last| last + 1);
        let digits = &digits[..used];

        if value.is_sign_negative() {
            self.put(b"-");
        }
        match exponent {
            0..17 => {
                let whole = exponent as usize + 1;
                self.put(&digits[..whole.min(used)]);
                self.put_zeros(whole.saturating_sub(used));
                if used > whole {
                    self.put(b".");
                    self.put(&digits[whole..]);
                }
            }
            -4..0 => {
                self.put(b"0.");
                self.put_zeros(-exponent as usize - 1);
                self.put(digits);
            }
            _ => {
                self.put(&digits[..1]);
                if used > 1 {
                    self.put(b".");
                    self.put(&digits[1..]);
                }
                self.put(if exponent < 0 { b"e-" } else { b"e+" });
                if exponent.abs() < 10 {
                    self.put(b"0");
                }
                self.put(itoa::Buffer::new().format(exponent.unsigned_abs()).as_bytes());
            }
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn put_zeros(&mut self, count: usize) {
        self.put(&[b'0'; FLOAT_TEXT_BYTES][..count]);
    }

    fn text(&self) -> &str {
        // Only ASCII is ever put in, so the check never fails; it costs less than what it would take to prove.
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}

impl std::fmt::Write for FloatText {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.put(text.as_bytes());
        Ok(())
    }
}
