//! The words that say what kind of command a row is.

use crate::command::bits::word_set;

word_set! {
    /// What kind of command it is: the flags of `COMMAND`, and the ones Redis keeps to itself.
    Flags {
        /// May change the keyspace.
        WRITE = 0, "write";
        /// Reads keys and changes nothing.
        READONLY = 1, "readonly";
        /// May use more memory: refused at `maxmemory`.
        DENYOOM = 2, "denyoom";
        /// For the operator.
        ADMIN = 3, "admin";
        /// Of the publish/subscribe family.
        PUBSUB = 4, "pubsub";
        /// Not for scripts.
        NOSCRIPT = 5, "noscript";
        /// May block the client.
        BLOCKING = 6, "blocking";
        /// Answered while the data set is being loaded.
        LOADING = 7, "loading";
        /// Answered by a replica with stale data.
        STALE = 8, "stale";
        /// Not shown to MONITOR.
        SKIP_MONITOR = 9, "skip_monitor";
        /// Not written to the slow log.
        SKIP_SLOWLOG = 10, "skip_slowlog";
        /// Carries an ASKING with it.
        ASKING = 11, "asking";
        /// Constant or logarithmic time.
        FAST = 12, "fast";
        /// Needs no authentication.
        NO_AUTH = 13, "no_auth";
        /// May be called with no key at all.
        NO_MANDATORY_KEYS = 14, "no_mandatory_keys";
        /// Refused while a replica loads beside its old data.
        NO_ASYNC_LOADING = 15, "no_async_loading";
        /// Not inside MULTI.
        NO_MULTI = 16, "no_multi";
        /// Keys stand where first/last/step cannot tell.
        MOVABLEKEYS = 17, "movablekeys";
        /// Answered while a script overstays its time.
        ALLOW_BUSY = 18, "allow_busy";
        /// No write, yet it may be replicated.
        MAY_REPLICATE = 19, "";
        /// Exists in sentinel mode.
        SENTINEL = 20, "";
        /// Exists in sentinel mode and nowhere else.
        ONLY_SENTINEL = 21, "";
        /// Only with `enable-debug-command` or `enable-module-command`.
        PROTECTED = 22, "";
        /// May touch, and so expire, any key.
        TOUCHES_ARBITRARY_KEYS = 23, "";
        /// Redis has it from a module.
        MODULE = 24, "module";
    }
}

word_set! {
    /// ACL categories; `COMMAND` prints them with `@` in front.
    Categories {
        /// `@keyspace`
        KEYSPACE = 0, "keyspace";
        /// `@read`
        READ = 1, "read";
        /// `@write`
        WRITE = 2, "write";
        /// `@set`
        SET = 3, "set";
        /// `@sortedset`
        SORTEDSET = 4, "sortedset";
        /// `@list`
        LIST = 5, "list";
        /// `@hash`
        HASH = 6, "hash";
        /// `@string`
        STRING = 7, "string";
        /// `@bitmap`
        BITMAP = 8, "bitmap";
        /// `@hyperloglog`
        HYPERLOGLOG = 9, "hyperloglog";
        /// `@geo`
        GEO = 10, "geo";
        /// `@stream`
        STREAM = 11, "stream";
        /// `@pubsub`
        PUBSUB = 12, "pubsub";
        /// `@admin`
        ADMIN = 13, "admin";
        /// `@fast`
        FAST = 14, "fast";
        /// `@slow`
        SLOW = 15, "slow";
        /// `@blocking`
        BLOCKING = 16, "blocking";
        /// `@dangerous`
        DANGEROUS = 17, "dangerous";
        /// `@connection`
        CONNECTION = 18, "connection";
        /// `@transaction`
        TRANSACTION = 19, "transaction";
        /// `@scripting`
        SCRIPTING = 20, "scripting";
    }
}

word_set! {
    /// Remarks of `COMMAND DOCS` on a command.
    DocFlags {
        /// There is a better way since [`CommandSpec::deprecated_since`].
        DEPRECATED = 0, "deprecated";
        /// For the system itself, not for users.
        SYSCMD = 1, "syscmd";
    }
}
