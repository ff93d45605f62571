//! Pages whose commands are run as they stand there.

/// What happens, and what is typed (true), in the order of the page: `<!-- happens: … -->` and blocks of `sh`.
pub fn blocks(page: &str) -> Vec<(bool, String)> {
    let mut blocks = Vec::new();
    let mut rest = page;
    loop {
        let (happens, typed) = (rest.find("<!-- happens: "), rest.find("```sh\n"));
        let (is_typed, from, opens, closes) = match (happens, typed) {
            (None, None) => return blocks,
            (Some(at), typed) if typed.is_none_or(|typed| at < typed) => (false, at, "<!-- happens: ", " -->"),
            (_, Some(at)) => (true, at, "```sh\n", "```"),
            (Some(_), None) => return blocks,
        };
        let (block, behind) = rest[from + opens.len()..].split_once(closes).unwrap();
        blocks.push((is_typed, block.to_owned()));
        rest = behind;
    }
}
