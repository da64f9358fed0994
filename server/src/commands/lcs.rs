//! The longest common subsequence of two strings.

use super::options::{Options, integer};
use crate::engine::Call;
use crate::engine::{CommandError, CommandResult, SYNTAX};
use crate::keyspace::Str;

/// A stretch that both strings have: where it lies in each, both ends included.
struct Match {
    first: (usize, usize),
    second: (usize, usize),
}

fn text(call: &mut Call<'_>, key: &[u8]) -> Result<Vec<u8>, CommandError> {
    match call.db().read_str(key) {
        Ok(None) => Ok(Vec::new()),
        Ok(Some(Str::Bytes(bytes))) => Ok(bytes.to_vec()),
        Ok(Some(Str::Int(number))) => Ok(number.to_string().into_bytes()),
        Err(_) => Err(CommandError::new("ERR The specified keys must contain string values")),
    }
}

/// `LCS key1 key2 [LEN] [IDX] [MINMATCHLEN len] [WITHMATCHLEN]`
pub fn lcs(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let first = text(call, args.at(1))?;
    let second = text(call, args.at(2))?;
    let (mut only_length, mut positions, mut with_length, mut shortest) = (false, false, false, 0);
    let mut options = Options::new(args, 3);
    while let Some(word) = options.word() {
        if word.eq_ignore_ascii_case(b"IDX") {
            positions = true;
        } else if word.eq_ignore_ascii_case(b"LEN") {
            only_length = true;
        } else if word.eq_ignore_ascii_case(b"WITHMATCHLEN") {
            with_length = true;
        } else if word.eq_ignore_ascii_case(b"MINMATCHLEN") && options.left() > 0 {
            shortest = integer(options.need()?)?.max(0) as usize;
        } else {
            return Err(SYNTAX);
        }
    }
    if only_length && positions {
        return Err(CommandError::new(
            "ERR If you want both the length and indexes, please just use IDX.",
        ));
    }
    let width = second.len() + 1;
    // The table of lengths is bounded like a string.
    let most = call.core.settings.proto_max_bulk_len / size_of::<u32>();
    let Some(cells) = (first.len() + 1).checked_mul(width).filter(|cells| *cells <= most) else {
        return Err(CommandError::new(
            "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
        ));
    };
    let mut table: Vec<u32> = Vec::new();
    if table.try_reserve_exact(cells).is_err() {
        return Err(CommandError::new(
            "ERR Insufficient memory, failed allocating transient memory for LCS",
        ));
    }
    table.resize(cells, 0);
    for (i, a) in first.iter().enumerate() {
        for (j, b) in second.iter().enumerate() {
            table[(i + 1) * width + j + 1] = if a == b {
                table[i * width + j] + 1
            } else {
                table[i * width + j + 1].max(table[(i + 1) * width + j])
            };
        }
    }
    let length = table[first.len() * width + second.len()] as usize;
    if only_length {
        call.client.reply.count(length);
        return Ok(());
    }
    let (subsequence, matches) = walk_back(&first, &second, &table, width);
    if !positions {
        call.client.reply.bulk(&subsequence);
        return Ok(());
    }
    let matches: Vec<&Match> =
        matches.iter().filter(|found| found.first.1 - found.first.0 + 1 >= shortest).collect();
    let reply = &mut call.client.reply;
    reply.map(2);
    reply.bulk(b"matches");
    reply.array(matches.len());
    for found in matches {
        reply.array(2 + usize::from(with_length));
        for (start, end) in [found.first, found.second] {
            reply.array(2);
            reply.count(start);
            reply.count(end);
        }
        if with_length {
            reply.count(found.first.1 - found.first.0 + 1);
        }
    }
    reply.bulk(b"len");
    reply.count(length);
    Ok(())
}

/// Reads the subsequence off the table, from its end; matches come last first, as Redis lists them.
fn walk_back(first: &[u8], second: &[u8], table: &[u32], width: usize) -> (Vec<u8>, Vec<Match>) {
    let mut subsequence = Vec::new();
    let mut matches: Vec<Match> = Vec::new();
    let mut open: Option<Match> = None;
    let (mut i, mut j) = (first.len(), second.len());
    while i > 0 && j > 0 {
        if first[i - 1] == second[j - 1] {
            subsequence.push(first[i - 1]);
            i -= 1;
            j -= 1;
            match &mut open {
                Some(found) if found.first.0 == i + 1 && found.second.0 == j + 1 => {
                    found.first.0 = i;
                    found.second.0 = j;
                }
                _ => {
                    matches.extend(open.take());
                    open = Some(Match { first: (i, i), second: (j, j) });
                }
            }
        } else if table[(i - 1) * width + j] > table[i * width + j - 1] {
            i -= 1;
        } else {
            j -= 1;
        }
    }
    matches.extend(open);
    subsequence.reverse();
    (subsequence, matches)
}

#[cfg(test)]
mod tests {
    #[test]
    fn finds_the_subsequence_of_the_manual() {
        let (first, second) = (b"ohmytext", b"mynewtext");
        let width = second.len() + 1;
        let mut table = vec![0_u32; (first.len() + 1) * width];
        for (i, a) in first.iter().enumerate() {
            for (j, b) in second.iter().enumerate() {
                table[(i + 1) * width + j + 1] = if a == b {
                    table[i * width + j] + 1
                } else {
                    table[i * width + j + 1].max(table[(i + 1) * width + j])
                };
            }
        }
        let (text, matches) = super::walk_back(first, second, &table, width);
        assert_eq!(text, b"mytext");
        assert_eq!(matches[0].first, (4, 7));
        assert_eq!(matches[0].second, (5, 8));
        assert_eq!(matches[1].first, (2, 3));
    }
}
