//! `LOLWUT`: the version, or a drawing.

use rand::Rng;

use super::Handlers;
use super::options::integer;
use crate::engine::Call;
use crate::engine::{CommandError, CommandResult};

pub(super) const HANDLERS: Handlers = &[("lolwut", lolwut)];

/// `LOLWUT [VERSION version] [argument ...]`: version 5 draws squares that lose their order (columns, squares in a
/// row, squares in a column), version 6 a skyline (columns, rows); others say which version this is.
pub fn lolwut(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let named = args.len() >= 3 && args.at(1).eq_ignore_ascii_case(b"VERSION");
    let version = if named { integer(args.at(2))? } else { 7 };
    let rest = args.tail(if named { 3 } else { 1 });
    let number = |place: usize, default: i64, max: i64| -> Result<usize, CommandError> {
        let number = rest.get(place).map_or(Ok(default), integer)?;
        Ok(number.clamp(1, max) as usize)
    };
    let drawn = match version {
        5 => {
            let (columns, across) = (number(0, 66, 1000)?, number(1, 8, 200)?);
            let canvas = squares(columns, across, number(2, 12, 200)?, &mut rand::rng());
            canvas.text() + "\nAfter Georg Nees: Schotter, 1968. "
        }
        6 => skyline(number(0, 80, 1000)?, number(1, 20, 1000)?, &mut rand::rng()) + "\n",
        _ => String::new(),
    };
    let text = format!("{drawn}Redis ver. {}\n", crate::REDIS_VERSION);
    call.client.reply.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

/// Dots; two by four make a character.
struct Canvas {
    width: usize,
    dots: Vec<bool>,
}

impl Canvas {
    fn new(width: usize, height: usize) -> Self {
        Self { width, dots: vec![false; width * height] }
    }

    fn dot(&mut self, x: f64, y: f64) {
        if x < 0.0 || y < 0.0 || x as usize >= self.width {
            return;
        }
        if let Some(dot) = self.dots.get_mut(x as usize + y as usize * self.width) {
            *dot = true;
        }
    }

    fn line(&mut self, from: (f64, f64), to: (f64, f64)) {
        let (across, down) = (to.0 - from.0, to.1 - from.1);
        let steps = across.abs().max(down.abs()).ceil().max(1.0);
        for step in 0..=steps as usize {
            let part = step as f64 / steps;
            self.dot(from.0 + across * part, from.1 + down * part);
        }
    }

    /// As Braille characters, whose bits count the dots of the left column, then the right, then the lowest two.
    fn text(&self) -> String {
        const BITS: [[u32; 2]; 4] = [[0, 3], [1, 4], [2, 5], [6, 7]];
        let mut text = String::new();
        for lines in self.dots.chunks(self.width * 4) {
            for x in (0..self.width).step_by(2) {
                let mut bits = 0;
                for (y, places) in BITS.iter().enumerate() {
                    for (dx, place) in places.iter().enumerate() {
                        let set = x + dx < self.width
                            && lines.get(x + dx + y * self.width).copied().unwrap_or(false);
                        bits |= u32::from(set) << place;
                    }
                }
                text.extend(char::from_u32(0x2800 + bits));
            }
            text.push('\n');
        }
        text
    }
}

/// Rows of squares, turned and moved the more the lower they are.
fn squares(columns: usize, across: usize, down: usize, rng: &mut impl Rng) -> Canvas {
    let width = columns * 2;
    let side = width as f64 / (across as f64 + 0.5);
    let height = ((down as f64 + 1.0) * side) as usize / 4 * 4 + 4;
    let mut canvas = Canvas::new(width, height);
    for row in 0..down {
        let disorder = row as f64 / down as f64;
        for column in 0..across {
            let mut amount = |most: f64| rng.random_range(-1.0..=1.0) * most * disorder * disorder;
            let angle = std::f64::consts::FRAC_PI_4 + amount(0.8);
            let x = (column as f64 + 0.75) * side + amount(side / 3.0);
            let y = (row as f64 + 0.75) * side + amount(side / 3.0);
            let reach = side * std::f64::consts::FRAC_1_SQRT_2;
            let corner = |number: usize| {
                let angle = angle + number as f64 * std::f64::consts::FRAC_PI_2;
                (x + angle.cos() * reach, y + angle.sin() * reach)
            };
            (0..4).for_each(|number| canvas.line(corner(number), corner((number + 1) % 4)));
        }
    }
    canvas
}

/// Houses of many heights, some windows lit.
fn skyline(columns: usize, rows: usize, rng: &mut impl Rng) -> String {
    let mut lines = vec![vec![' '; columns]; rows];
    let mut left = 0;
    while left < columns {
        let width = rng.random_range(4..14);
        let height = rng.random_range(rows / 4..=rows * 9 / 10);
        for (y, line) in lines.iter_mut().enumerate().skip(rows - height) {
            for (x, place) in line.iter_mut().enumerate().skip(left).take(width) {
                let inside = x > left && x + 1 < left + width;
                let window = inside && (y + height - rows) % 2 == 1 && (x - left).is_multiple_of(2);
                *place = match window {
                    true if rng.random_ratio(1, 3) => '░',
                    _ => '█',
                };
            }
        }
        left += width + rng.random_range(0..3);
    }
    lines.into_iter().map(|line| line.into_iter().chain(['\n']).collect::<String>()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawings_have_the_size_that_was_asked_for() {
        for (columns, across, down) in [(1, 1, 1), (66, 8, 12), (30, 200, 3)] {
            let text = squares(columns, across, down, &mut rand::rng()).text();
            assert!(text.lines().all(|line| line.chars().count() == columns), "{text}");
            assert!(text.chars().any(|dots| dots > '\u{2800}'));
        }
        for (columns, rows) in [(1, 1), (80, 20), (1000, 3)] {
            let text = skyline(columns, rows, &mut rand::rng());
            assert_eq!(text.lines().count(), rows);
            assert!(text.lines().all(|line| line.chars().count() == columns));
        }
    }

    #[test]
    fn dots_are_where_braille_has_them() {
        let mut canvas = Canvas::new(2, 4);
        canvas.dot(1.0, 0.0);
        canvas.dot(0.0, 3.0);
        canvas.dot(5.0, 0.0);
        assert_eq!(canvas.text(), "\u{2848}\n");
    }
}
