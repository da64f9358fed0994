//! The arguments of one request: a buffer and where in it each argument lies.

use std::ops::Index;

/// Where one argument lies in its buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u32,
    /// Offset after the last byte.
    pub end: u32,
}

impl Span {
    /// Length in bytes.
    #[must_use]
    pub fn len(self) -> usize {
        self.end.saturating_sub(self.start) as usize
    }

    /// Whether the argument has no bytes.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// The arguments of a request, borrowed. The first is the command's name.
#[derive(Clone, Copy)]
pub struct Args<'a> {
    buf: &'a [u8],
    spans: &'a [Span],
}

impl<'a> Args<'a> {
    /// Arguments at `spans` of `buf`. Spans that do not lie in `buf` are absent to [`get`](Self::get).
    #[must_use]
    pub fn new(buf: &'a [u8], spans: &'a [Span]) -> Self {
        Self { buf, spans }
    }

    /// Number of arguments.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there are none.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The argument at `index`, if there is one.
    #[must_use]
    #[inline]
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        let span = self.spans.get(index)?;
        self.buf.get(span.start as usize..span.end as usize)
    }

    /// The argument at `index`.
    ///
    /// # Panics
    /// When there is none: for callers behind an arity check.
    #[must_use]
    #[inline]
    pub fn at(&self, index: usize) -> &'a [u8] {
        let span = self.spans[index];
        &self.buf[span.start as usize..span.end as usize]
    }

    /// The arguments in order.
    #[inline]
    pub fn iter(&self) -> Iter<'a> {
        Iter { buf: self.buf, spans: self.spans.iter() }
    }

    /// The arguments from `index` on; none if there are fewer.
    #[must_use]
    #[inline]
    pub fn tail(&self, index: usize) -> Args<'a> {
        Args { buf: self.buf, spans: self.spans.get(index..).unwrap_or(&[]) }
    }

    /// The `count` arguments from `index` on, or those of them that there are.
    #[must_use]
    pub fn slice(&self, index: usize, count: usize) -> Args<'a> {
        let tail = self.tail(index);
        Args { spans: &tail.spans[..count.min(tail.spans.len())], ..tail }
    }

    /// Where the arguments lie in [`buffer`](Self::buffer).
    #[must_use]
    #[inline]
    pub fn spans(&self) -> &'a [Span] {
        self.spans
    }

    /// The bytes that the spans refer to.
    #[must_use]
    #[inline]
    pub fn buffer(&self) -> &'a [u8] {
        self.buf
    }

    /// Bytes that the request takes as an array of bulk strings, whatever form it came in.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        let head = |number: usize| 3 + number.checked_ilog10().unwrap_or(0) as usize + 1;
        let args = self.spans.iter().map(|span| head(span.len()) + span.len() + 2);
        head(self.spans.len()) + args.sum::<usize>()
    }

    /// At least [`encoded_len`](Self::encoded_len), without a look at each argument.
    #[must_use]
    #[inline]
    pub fn encoded_len_max(&self) -> usize {
        // What stands around a string whose length has ten digits: no span is longer.
        const AROUND: usize = 1 + 10 + 4;
        let (first, last) = (self.spans.first(), self.spans.last());
        let start = first.map_or(0, |span| span.start as usize);
        let end = last.map_or(0, |span| span.end as usize);
        end.saturating_sub(start) + (self.spans.len() + 1) * AROUND
    }

    /// Bytes of all arguments together.
    #[must_use]
    pub fn bytes_total(&self) -> usize {
        self.spans.iter().map(|span| span.len()).sum()
    }
}

impl Index<usize> for Args<'_> {
    type Output = [u8];

    #[inline]
    fn index(&self, index: usize) -> &[u8] {
        self.at(index)
    }
}

impl<'a> IntoIterator for Args<'a> {
    type Item = &'a [u8];
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl std::fmt::Debug for Args<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter().map(|arg| arg.escape_ascii().to_string())).finish()
    }
}

/// The arguments of [`Args`] in order.
#[derive(Clone)]
pub struct Iter<'a> {
    buf: &'a [u8],
    spans: std::slice::Iter<'a, Span>,
}

impl<'a> Iter<'a> {
    fn bytes(&self, span: &Span) -> &'a [u8] {
        self.buf.get(span.start as usize..span.end as usize).unwrap_or_default()
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let span = self.spans.next()?;
        Some(self.bytes(span))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.spans.size_hint()
    }
}

impl DoubleEndedIterator for Iter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let span = self.spans.next_back()?;
        Some(self.bytes(span))
    }
}

impl ExactSizeIterator for Iter<'_> {}

/// Arguments that own their bytes, in two allocations whatever their number: what a MULTI queue keeps.
#[derive(Clone, Default)]
pub struct OwnedArgs {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

impl OwnedArgs {
    /// No arguments yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A copy of `args`, without the framing around them.
    #[must_use]
    pub fn from_args(args: Args<'_>) -> Self {
        let mut owned = Self {
            bytes: Vec::with_capacity(args.bytes_total()),
            spans: Vec::with_capacity(args.len()),
        };
        for arg in args {
            owned.push(arg);
        }
        owned
    }

    /// A copy of `slices`.
    #[must_use]
    pub fn from_slices<S: AsRef<[u8]>>(slices: &[S]) -> Self {
        let mut owned = Self::default();
        for slice in slices {
            owned.push(slice.as_ref());
        }
        owned
    }

    /// Appends one argument.
    ///
    /// # Panics
    /// When all arguments together exceed 4 GiB, which a [`Span`] cannot express; no scanner lets that in.
    pub fn push(&mut self, arg: &[u8]) {
        let offset = |at: usize| u32::try_from(at).expect("arguments of one call stay under 4 GiB");
        let start = offset(self.bytes.len());
        self.bytes.extend_from_slice(arg);
        self.spans.push(Span { start, end: offset(self.bytes.len()) });
    }

    /// The arguments, borrowed.
    #[must_use]
    pub fn as_args(&self) -> Args<'_> {
        Args::new(&self.bytes, &self.spans)
    }

    /// Forgets the arguments and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.spans.clear();
    }

    /// Bytes of heap memory held.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.bytes.capacity() + self.spans.capacity() * size_of::<Span>()
    }
}

impl std::fmt::Debug for OwnedArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_args().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_found_by_index_order_and_tail() {
        let owned = OwnedArgs::from_slices(&["set", "", "value"]);
        let args = owned.as_args();
        assert_eq!(args.len(), 3);
        assert_eq!(&args[0], b"set");
        assert_eq!(args.get(1), Some(&b""[..]));
        assert_eq!(args.get(3), None);
        assert_eq!(args.tail(1).at(1), b"value");
        assert!(args.tail(4).is_empty());
        assert_eq!(args.iter().next_back(), Some(&b"value"[..]));
        assert_eq!(args.bytes_total(), 8);
    }

    #[test]
    fn a_copy_holds_only_the_arguments() {
        let buf = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
        let spans = [Span { start: 8, end: 11 }, Span { start: 17, end: 18 }];
        let owned = OwnedArgs::from_args(Args::new(buf, &spans));
        assert_eq!(owned.as_args().buffer(), b"GETk");
        assert_eq!(owned.as_args().iter().collect::<Vec<_>>(), [&b"GET"[..], b"k"]);
    }

    #[test]
    fn the_size_of_a_request_is_that_of_its_array() {
        for args in [
            &["PING"][..],
            &["SET", "k", ""],
            &["MSET", "a", "0123456789", "b", "01234567890"],
            &["0123456789"; 10],
        ] {
            let mut wire = format!("*{}\r\n", args.len());
            args.iter().for_each(|arg| wire += &format!("${}\r\n{arg}\r\n", arg.len()));
            let owned = OwnedArgs::from_slices(args);
            assert_eq!(owned.as_args().encoded_len(), wire.len(), "{args:?}");
            assert!(owned.as_args().encoded_len_max() >= wire.len(), "{args:?}");
        }
        assert_eq!(Args::new(b"", &[]).encoded_len(), 4);
    }

    #[test]
    fn spans_outside_the_buffer_are_absent() {
        let spans = [Span { start: 2, end: 9 }, Span { start: 3, end: 1 }];
        let args = Args::new(b"abc", &spans);
        assert_eq!(args.get(0), None);
        assert_eq!(args.get(1), None);
        assert_eq!(args.iter().map(<[u8]>::len).sum::<usize>(), 0);
    }
}
