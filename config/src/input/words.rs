//! Words in messages: the one that was meant, and lists of them.

/// The candidate that `word` is most likely a misspelling of, if one is close enough.
pub(crate) fn closest<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    // One slip in a short word, three in a long one; more is another word.
    let limit = (word.chars().count() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(slips, _)| *slips <= limit)
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, candidate)| candidate)
}

/// "`a`, `b` or `c`".
pub(crate) fn list(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => format!("`{one}`"),
        [head @ .., last] => {
            let head: Vec<String> = head.iter().map(|word| format!("`{word}`")).collect();
            format!("{} or `{last}`", head.join(", "))
        }
    }
}

/// Letters to insert, remove, replace or swap with their neighbour to come from one word to the
/// other. The case and the kind of dash are no slips.
fn distance(a: &str, b: &str) -> usize {
    let fold = |text: &str| -> Vec<char> {
        let dashes = |letter| if letter == '-' { '_' } else { letter };
        text.chars()
            .take(64)
            .map(|letter| dashes(letter.to_ascii_lowercase()))
            .collect()
    };
    let (a, b) = (fold(a), fold(b));
    // Row i holds the distances of the first i letters of `a` to all beginnings of `b`.
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX - 1);
            let mut slips = (at(&row, j) + usize::from(x != y))
                .min(at(&row, j + 1) + 1)
                .min(at(&next, j) + 1);
            let is_swap = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if is_swap {
                slips = slips.min(at(&before, j - 1) + 1);
            }
            next.push(slips);
        }
        before = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_word_is_not_suggested() {
        assert_eq!(closest("rate", ["secret", "url", "name"]), None);
        assert_eq!(closest("", ["url"]), None);
    }

    #[test]
    fn the_closest_word_is_suggested() {
        assert_eq!(
            closest("http_timout", ["url", "http_timeout", "name"]),
            Some("http_timeout")
        );
        assert_eq!(closest("owner-id", ["owner_id"]), Some("owner_id"));
        assert_eq!(closest("ulr", ["url", "uid"]), Some("url"));
        assert_eq!(closest("stroe", ["store", "log"]), Some("store"));
    }

    #[test]
    fn lists_read_as_sentences() {
        assert_eq!(list(&["a"]), "`a`");
        assert_eq!(list(&["a", "b", "c"]), "`a`, `b` or `c`");
    }
}
