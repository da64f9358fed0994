//! PFSELFTEST: whether the program counts as it should on this machine.

use rand::Rng;

use crate::encoding::hll::{self, Form};
use crate::engine::Call;
use crate::engine::{CommandError, CommandResult};

/// How often all registers are written and read.
const ROUNDS: usize = 1000;
/// How many different elements are added.
const ELEMENTS: u64 = 10_000_000;

/// `PFSELFTEST`: takes seconds, as in Redis.
pub fn pfselftest(call: &mut Call<'_>) -> CommandResult {
    registers_hold_what_was_written(ROUNDS)?;
    estimates_are_near(ELEMENTS, call.core.settings.hll_sparse_max_bytes)?;
    call.client.reply.ok();
    Ok(())
}

fn failed(text: String) -> CommandError {
    CommandError::made(format!("ERR TESTFAILED {text}"))
}

fn registers_hold_what_was_written(rounds: usize) -> CommandResult {
    let mut random = rand::rng();
    let mut packed = [0; hll::dense::BYTES - hll::HEADER];
    let mut numbers = [0; hll::REGISTERS];
    for _ in 0..rounds {
        random.fill(&mut numbers[..]);
        numbers.iter_mut().for_each(|number| *number &= 63);
        hll::dense::pack(&mut packed, &numbers);
        for (index, number) in numbers.iter().enumerate() {
            let found = hll::dense::get(&packed, index);
            if found != *number {
                return Err(failed(format!("Register {index} should be {number} but is {found}")));
            }
        }
    }
    Ok(())
}

fn estimates_are_near(elements: u64, sparse_bytes_max: usize) -> CommandResult {
    let seed: u64 = rand::random();
    let (mut growing, mut dense) = (hll::empty(), hll::empty());
    hll::to_dense(&mut dense)?;
    let mut checkpoint = 1;
    for element in 1..=elements {
        let (index, number) = hll::offer(&(element ^ seed).to_le_bytes());
        hll::raise(&mut dense, index, number, 0)?;
        hll::raise(&mut growing, index, number, sparse_bytes_max)?;
        if element < checkpoint {
            continue;
        }
        // Two bytes for each element are enough at first.
        let few = element < sparse_bytes_max as u64 / 2;
        if few && hll::form(&growing) != Form::Sparse {
            return Err(failed("sparse encoding not used".to_owned()));
        }
        let estimate = hll::count(&dense)?;
        if estimate != hll::count(&growing)? {
            return Err(failed("dense/sparse disagree".to_owned()));
        }
        let off = estimate.abs_diff(element);
        if off > tolerated(element) {
            return Err(failed(format!("Too big error. card:{element} abserr:{off}")));
        }
        checkpoint *= 10;
    }
    Ok(())
}

/// How far off an estimate may be: six times the standard error, but one for ten elements, where two that share a
/// register weigh much.
fn tolerated(elements: u64) -> u64 {
    if elements == 10 {
        return 1;
    }
    let standard_error = 1.04 / (hll::REGISTERS as f64).sqrt();
    (standard_error * 6.0 * elements as f64).ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_passes() {
        assert_eq!(registers_hold_what_was_written(10), Ok(()));
        assert_eq!(estimates_are_near(200_000, 3000), Ok(()));
    }

    #[test]
    fn an_estimate_may_be_off_by_little() {
        assert_eq!([1, 10, 100, 10_000].map(tolerated), [1, 1, 5, 488]);
    }
}
