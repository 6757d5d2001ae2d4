//! Scripts from a seed: real statements with everything in them that makes a `;` not an end.

/// One generated script.
#[derive(Debug)]
pub(crate) struct Script {
    /// Its text.
    pub(crate) text: String,
    /// How many statements it has, when it was not mutated.
    pub(crate) statements: usize,
    /// Whether bytes of it were changed: then it may be no SQL.
    pub(crate) mutated: bool,
}

/// A pseudo-random generator (`SplitMix64`) of scripts.
#[derive(Debug)]
pub(crate) struct Generator(u64);

const NAMES: [&str; 12] = [
    "t",
    "orders",
    "\"a;b\"",
    "\"Or\"\"d\"",
    "s.t",
    "é",
    "_x1",
    "a$b",
    "U&\"d\\0061t\"",
    "\"$$\"",
    "begin",
    "atomic",
];
const LITERALS: [&str; 18] = [
    "';'",
    "'it''s; '",
    "'a\\'",
    "E'a\\';'",
    "e'\\\\'",
    "E'a' \n 'b\\';'",
    "E'x' -- ' ;\n '\\';'",
    "$$ ; $$",
    "$a$ $$ ; $$ $b$ $a$",
    "$_$;$_$",
    "$é$;$$;$é$",
    "U&'\\0061;'",
    "U&'!0061;' UESCAPE '!'",
    "B'101'",
    "x'1F'",
    "N';'",
    "'a'\n  ';b'",
    "'\r\n;'",
];
const GAPS: [&str; 16] = [
    " ",
    "\n",
    "\t",
    "\r\n",
    "  ",
    "/* ; */",
    "/* /* ; */ ; */",
    "-- ;\n",
    "-- '\n",
    "/* ' */",
    "/**/ ",
    "--\r",
    "\x0c",
    "/* $$ */ ",
    "-- \"\r\n",
    " ",
];

impl Generator {
    /// The generator of one script.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        let at = self.below(all.len());
        all[at]
    }

    fn gap(&mut self) -> &'static str {
        self.of(&GAPS)
    }

    /// A script of up to six statements; one in four has some bytes changed.
    pub(crate) fn script(mut self) -> Script {
        let mut text = String::new();
        let statements = self.below(6) + 1;
        for at in 0..statements {
            for _ in 0..self.below(3) {
                text.push_str(self.gap());
            }
            let statement = self.statement();
            text.push_str(&self.with_gaps(&statement));
            text.push_str(self.gap());
            if at + 1 < statements || self.below(3) > 0 {
                text.push(';');
            }
            while self.below(8) == 0 && text.ends_with(';') {
                text.push_str(self.gap());
                text.push(';');
            }
        }
        if self.below(10) == 0 {
            text = text.replace('\n', "\r\n");
        }
        let mutated = self.below(4) == 0;
        if mutated {
            text = self.mutated(text);
        }
        Script {
            text,
            statements,
            mutated,
        }
    }

    /// The template with a random gap for each `~`, a name for each `@`, a literal for each `?`, an expression for `%`.
    fn with_gaps(&mut self, template: &str) -> String {
        let mut text = String::new();
        for c in template.chars() {
            match c {
                '~' => text.push_str(self.gap()),
                '@' => text.push_str(self.of(&NAMES)),
                '?' => text.push_str(self.of(&LITERALS)),
                '%' => {
                    let expression = self.expression(2);
                    text.push_str(&self.with_gaps(&expression));
                }
                c => text.push(c),
            }
        }
        text
    }

    fn expression(&mut self, depth: usize) -> String {
        let leaf = depth == 0 || self.below(3) == 0;
        let forms: &[&str] = if leaf {
            &["?", "1", "@", "$1", "a . end", "null", "1.5e3", "1_000"]
        } else {
            &[
                "(%)",
                "case~when % then % else % end",
                "case~% when % then %~end",
                "% || %",
                "f(%, %)",
                "(select % as end)",
                "(select 1 end)",
                "(select % from @~where % = %)",
                "array[%, %]",
                "% +-- ;\n %",
                "% @> %",
                "row(%,~%)",
                "cast(% as text)",
                "exists(select 1)",
            ]
        };
        let form = self.of(forms);
        let mut text = String::new();
        for part in form.split_inclusive('%') {
            match part.strip_suffix('%') {
                Some(fixed) => {
                    text.push_str(fixed);
                    let inner = self.expression(depth.saturating_sub(1));
                    text.push_str(&inner);
                }
                None => text.push_str(part),
            }
        }
        // `@>` is an operator here, not a name.
        text.replace("@>", "&&")
    }

    fn statement(&mut self) -> String {
        let simple: &[&str] = &[
            "select~%",
            "select~%~as~end, % \"case\"~from~@",
            "insert~into~@~(a,~b)~values~(%,~%)",
            "update~@~set~a~=~%~where~%",
            "delete~from~@~where~%",
            "create~table~@~(a~int~default~1,~b~text~check~(b~<>~?))",
            "create~table~if~not~exists~@~as~select~%",
            "create~unique~index~concurrently~i~on~@~(a,~(lower(b)))~where~a~is~not~null",
            "alter~table~@~add~column~c~text~default~?,~drop~column~d",
            "comment~on~table~@~is~'a;b'",
            "create~view~v~as~select~begin~atomic,~%~as~x~from~@",
            "do~$_$~begin~perform~$x$;$x$;~end~$_$",
            "create~or~replace~function~f(a~int~default~1)~returns~int~language~plpgsql~as~$f$~begin~return~$$;$$;~end;~$f$",
            "create~function~f()~returns~text~language~sql~as~'select 1;'",
            "create~function~begin(atomic~int)~returns~int~return~1",
            "create~rule~r~as~on~insert~to~@~do~also~(insert~into~l~values~(%);~select~%;~delete~from~l)",
            "create~rule~r~as~on~delete~to~@~do~instead~nothing",
            "create~trigger~g~before~update~on~@~for~each~row~when~(old.a~<~1)~execute~function~f(';')",
            "create~type~e~as~enum~('a;',~'b')",
            "alter~type~e~add~value~if~not~exists~'c;'~before~'b'",
            "create~policy~p~on~@~using~(a~=~1)~with~check~(b~<>~';')",
            "grant~select~on~@~to~public",
            "set~search_path~=~a,~\"b;c\"",
            "set~standard_conforming_strings~=~on",
            "begin",
            "end",
            "commit",
            "truncate~@~cascade",
            "explain~select~%",
            "with~w~as~(select~%)~select~1~from~w",
            "create~table~p~partition~of~@~for~values~in~(1,~2)",
            "call~f(%,~%)",
            "copy~@~to~stdout",
            "prepare~q~as~select~$1",
            "refresh~materialized~view~concurrently~v",
        ];
        if self.below(8) > 0 {
            return self.of(simple).to_owned();
        }
        self.body(1)
    }

    /// A routine with statements in it, which may hold routines with statements.
    fn body(&mut self, depth: usize) -> String {
        let head = self.of(&[
            "create~function~f(a~int)~returns~int~language~sql",
            "create~or~replace~procedure~f()",
            "CREATE~FUNCTION~@(begin~int,~case_~text)~RETURNS~text~LANGUAGE~sql",
        ]);
        let mut text = format!(
            "{head}~{}~{}~",
            self.of(&["begin", "BEGIN"]),
            self.of(&["atomic", "Atomic"])
        );
        for _ in 0..self.below(4) {
            let inner = match self.below(6) {
                0 if depth > 0 => self.body(depth - 1),
                1 => "create~rule~r~as~on~insert~to~t~do~also~(select~1;~select~2)".to_owned(),
                _ => self
                    .of(&[
                        "select~1~end",
                        "select~%~as~end",
                        "insert~into~t~values~(%)",
                        "select~case~when~true~then~1~end~end",
                        "update~t~set~a~=~%",
                        "return~%",
                        "select~1~as~case~from~t",
                        "select~t.end~from~t",
                        "select~1~as~atomic,~2~as~begin",
                    ])
                    .to_owned(),
            };
            text.push_str(&inner);
            text.push_str("~;~");
        }
        text.push_str("end");
        text
    }

    fn mutated(&mut self, text: String) -> String {
        let mut bytes = text.into_bytes();
        for _ in 0..=self.below(4) {
            if bytes.is_empty() {
                break;
            }
            let at = self.below(bytes.len());
            match self.below(4) {
                0 => {
                    bytes.remove(at);
                }
                1 => {
                    let b = b"';$\"\\/*-()eE\n\r;"[self.below(15)];
                    bytes.insert(at, b);
                }
                2 => bytes[at] = u8::try_from(self.below(255) + 1).unwrap(),
                _ => bytes.truncate(at),
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
