//! Sub-commands of ACL.

use super::super::bits::{categories, flags};
use super::super::spec::arguments::{integer, one_of, string, word};
use super::super::spec::{CommandSpec, Group};

/// What the rows of this file have in common.
const ROW: CommandSpec = CommandSpec::of(Group::Server);

/// Rows by name.
pub(super) const ACL: &[CommandSpec] = &[
    CommandSpec {
        name: "acl|cat",
        arity: -2,
        flags: flags![NOSCRIPT, LOADING, STALE, SENTINEL],
        categories: categories![SLOW],
        summary: "List the ACL categories or the commands inside a category",
        complexity: "O(1) since the categories and commands are a fixed set.",
        since: "6.0.0",
        arguments: &[string("categoryname").optional()],
        ..ROW
    },
    CommandSpec {
        name: "acl|deluser",
        arity: -3,
        flags: flags![ADMIN, NOSCRIPT, LOADING, STALE, SENTINEL],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Remove the specified ACL users and the associated rules",
        complexity: "O(1) amortized time considering the typical user.",
        since: "6.0.0",
        arguments: &[string("username").multiple()],
        ..ROW
    },
    CommandSpec {
        name: "acl|dryrun",
        arity: -4,
        flags: flags![ADMIN, NOSCRIPT, LOADING, STALE, SENTINEL],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Returns whether the user can execute the given command without executing the \
            command.",
        complexity: "O(1).",
        since: "7.0.0",
        arguments: &[string("username"), string("command"), string("arg").optional().multiple()],
        ..ROW
    },
    CommandSpec {
        name: "acl|genpass",
        arity: -2,
        flags: flags![NOSCRIPT, LOADING, STALE, SENTINEL],
        categories: categories![SLOW],
        summary: "Generate a pseudorandom secure password to use for ACL users",
        complexity: "O(1)",
        since: "6.0.0",
        arguments: &[integer("bits").optional()],
        ..ROW
    },
    CommandSpec {
        name: "acl|getuser",
        arity: 3,
        flags: flags![ADMIN, NOSCRIPT, LOADING, STALE, SENTINEL],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Get the rules for a specific ACL user",
        complexity: "O(N). Where N is the number of password, command and pattern rules that the \
            user has.",
        since: "6.0.0",
        history: &[
            ("6.2.0", "Added Pub/Sub channel patterns."),
            (
                "7.0.0",
                "Added selectors and changed the format of key and channel patterns from a \
                list to their rule representation.",
            ),
        ],
        arguments: &[string("username")],
        ..ROW
    },
    CommandSpec {
        name: "acl|help",
        arity: 2,
        flags: flags![LOADING, STALE, SENTINEL],
        categories: categories![SLOW],
        summary: "Show helpful text about the different subcommands",
        complexity: "O(1)",
        since: "6.0.0",
        ..ROW
    },
    CommandSpec {
        name: "acl|list",
        arity: 2,
        flags: flags![ADMIN, NOSCRIPT, LOADING, STALE, SENTINEL],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "List the current ACL rules in ACL config file format",
        complexity: "O(N). Where N is the number of configured users.",
        since: "6.0.0",
        ..ROW
    },
    CommandSpec {
        name: "acl|load",
        arity: 2,
        flags: flags![ADMIN, NOSCRIPT, LOADING, STALE, SENTINEL],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Reload the ACLs from the configured ACL file",
        complexity: "O(N). Where N is the number of configured users.",
        since: "6.0.0",
        ..ROW
    },
    CommandSpec {
        name: "acl|log",
        arity: -2,
        flags: flags![ADMIN, NOSCRIPT, LOADING, STALE, SENTINEL],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "List latest events denied because of ACLs in place",
        complexity: "O(N) with N being the number of entries shown.",
        since: "6.0.0",
        arguments: &[one_of("operation", &[integer("count"), word("reset", "RESET")]).optional()],
        ..ROW
    },
    CommandSpec {
        name: "acl|save",
        arity: 2,
        flags: flags![ADMIN, NOSCRIPT, LOADING, STALE, SENTINEL],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Save the current ACL rules in the configured ACL file",
        complexity: "O(N). Where N is the number of configured users.",
        since: "6.0.0",
        ..ROW
    },
    CommandSpec {
        name: "acl|setuser",
        arity: -3,
        flags: flags![ADMIN, NOSCRIPT, LOADING, STALE, SENTINEL],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "Modify or create the rules for a specific ACL user",
        complexity: "O(N). Where N is the number of rules provided.",
        since: "6.0.0",
        history: &[
            ("6.2.0", "Added Pub/Sub channel patterns."),
            ("7.0.0", "Added selectors and key based permissions."),
        ],
        arguments: &[string("username"), string("rule").optional().multiple()],
        ..ROW
    },
    CommandSpec {
        name: "acl|users",
        arity: 2,
        flags: flags![ADMIN, NOSCRIPT, LOADING, STALE, SENTINEL],
        categories: categories![ADMIN, SLOW, DANGEROUS],
        summary: "List the username of all the configured ACL rules",
        complexity: "O(N). Where N is the number of configured users.",
        since: "6.0.0",
        ..ROW
    },
    CommandSpec {
        name: "acl|whoami",
        arity: 2,
        flags: flags![NOSCRIPT, LOADING, STALE, SENTINEL],
        categories: categories![SLOW],
        summary: "Return the name of the user associated to the current connection",
        complexity: "O(1)",
        since: "6.0.0",
        ..ROW
    },
];
