//! `INFO`.

use crate::engine::Call;
use crate::engine::CommandResult;

/// `INFO [section [section ...]]`
pub fn info(call: &mut Call<'_>) -> CommandResult {
    let wanted: Vec<String> = call
        .args
        .tail(1)
        .iter()
        .map(|word| String::from_utf8_lossy(word).to_ascii_lowercase())
        .collect();
    let text = crate::observe::info::text(call.keyspace, call.core, call.client, &wanted);
    if call.core.sentinel.is_some() {
        call.client.reply.bulk(text.as_bytes());
    } else {
        call.client.reply.verbatim(*b"txt", text.as_bytes());
    }
    Ok(())
}
