//! Small sets of words, one bit a word: command flags, ACL categories, key flags and the like.

/// Declares a set type and its words.
///
/// Words stand in the order in which Redis prints them; a word of `""` is known to the program and never printed.
macro_rules! word_set {
    (
        $(#[$doc:meta])*
        $name:ident {
            $($(#[$word_doc:meta])* $word:ident = $bit:literal, $text:literal;)+
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
        pub struct $name(u32);

        impl $name {
            /// The empty set.
            pub const NONE: Self = Self(0);
            $($(#[$word_doc])* pub const $word: Self = Self(1 << $bit);)+

            /// Every word with its bit, in printing order; `""` marks a word that is never printed.
            pub const WORDS: &'static [(Self, &'static str)] = &[$((Self::$word, $text),)+];

            /// Both sets together.
            #[must_use]
            #[inline]
            pub const fn or(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }

            /// This set without the words of `other`.
            #[must_use]
            #[inline]
            pub const fn without(self, other: Self) -> Self {
                Self(self.0 & !other.0)
            }

            /// True when every word of `other` is here.
            #[must_use]
            #[inline]
            pub const fn contains(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// The words that are in both.
            #[must_use]
            #[inline]
            pub const fn and(self, other: Self) -> Self {
                Self(self.0 & other.0)
            }

            /// True when at least one word of `other` is here.
            #[must_use]
            #[inline]
            pub const fn intersects(self, other: Self) -> bool {
                self.0 & other.0 != 0
            }

            /// True for the empty set.
            #[must_use]
            #[inline]
            pub const fn is_empty(self) -> bool {
                self.0 == 0
            }

            /// The bits themselves, for users that keep masks of their own.
            #[must_use]
            #[inline]
            pub const fn bits(self) -> u32 {
                self.0
            }

            /// The printed words of this set, in Redis's order.
            pub fn words(self) -> impl Iterator<Item = &'static str> + Clone {
                Self::WORDS
                    .iter()
                    .filter(move |(bit, word)| self.contains(*bit) && !word.is_empty())
                    .map(|(_, word)| *word)
            }

            /// The bit of a printed word, in any case of letters.
            #[must_use]
            pub fn of_word(word: &[u8]) -> Option<Self> {
                Self::WORDS
                    .iter()
                    .find(|(_, text)| !text.is_empty() && word.eq_ignore_ascii_case(text.as_bytes()))
                    .map(|(bit, _)| *bit)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_set().entries(self.words()).finish()
            }
        }
    };
}

pub(super) use word_set;

/// `flags![WRITE, FAST]`: a set of command flags, as rows write it.
macro_rules! flags {
    ($($word:ident),*) => { $crate::command::spec::Flags::NONE$(.or($crate::command::spec::Flags::$word))* };
}

/// `categories![READ, STRING]`: a set of ACL categories, as rows write it.
macro_rules! categories {
    ($($word:ident),*) => {
        $crate::command::spec::Categories::NONE$(.or($crate::command::spec::Categories::$word))*
    };
}

/// `key_flags![RO, ACCESS]`: what a command does with a key, as rows write it.
macro_rules! key_flags {
    ($($word:ident),*) => {
        $crate::command::spec::KeyFlags::NONE$(.or($crate::command::spec::KeyFlags::$word))*
    };
}

pub(super) use {categories, flags, key_flags};
