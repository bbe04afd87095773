//! What a typed line means.

/// Events that `/history` shows if it names no number.
const HISTORY_DEFAULT: u64 = 20;
/// And at most.
const HISTORY_MAX: u64 = panda_protocol::limits::PAGE_EVENTS_MAX as u64;

/// What `/help` says.
pub(super) const HELP: &str = "\
text                      says it in the open chat
/chats                    lists your chats
/open CHAT                opens one, by its name, a part of it, its number, or its ID
/new NAME @user ...       makes a chat
/dm @user                 opens the direct chat with somebody
/add @user ...            adds members to the open chat; with +history behind them,
                          they see what was said before
/remove @user ...         removes members from it
/leave                    leaves it
/who                      lists its members
/history [N]              shows its last messages
/quit                     ends (so do Ctrl-D and Ctrl-C)
Whatever you enter while there is no connection, nothing too, makes the next attempt now.
A line that begins with two slashes says the rest, with one.
@name is the direct chat with that user; group \"...\" is a group with a misleading name;
tea~k3ab is one of several chats called tea, by the end of its ID.";

/// A typed line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Input {
    Nothing,
    Say(String),
    Help,
    Chats,
    Open(String),
    New {
        name: String,
        members: Vec<String>,
    },
    Direct(String),
    Add {
        members: Vec<String>,
        with_history: bool,
    },
    Remove(Vec<String>),
    Leave,
    Who,
    History(u64),
    Quit,
    /// What is wrong with the line.
    Wrong(String),
    /// Why no line can be read any more.
    Broken(String),
}

impl Input {
    /// Whether it is the same whatever chat is open.
    pub(super) const fn is_anywhere(&self) -> bool {
        matches!(self, Self::Nothing | Self::Help | Self::Quit | Self::Wrong(_) | Self::Broken(_))
    }

    /// Whether it says which chat is meant from then on.
    pub(super) const fn names_chat(&self) -> bool {
        matches!(self, Self::Open(_) | Self::New { .. } | Self::Direct(_))
    }

    pub(super) fn parse(line: &str) -> Self {
        let line = line.trim_end_matches(['\r', '\n']);
        if line.trim().is_empty() {
            return Self::Nothing;
        }
        // What is pasted in several lines is no command, whatever it begins with.
        if line.contains('\n') {
            return Self::Say(line.to_owned());
        }
        let Some(command) = line.strip_prefix('/') else { return Self::Say(line.to_owned()) };
        if command.starts_with('/') {
            return Self::Say(command.to_owned());
        }
        let (word, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        let rest = rest.trim();
        match word {
            "help" | "chats" | "leave" | "who" | "quit" if !rest.is_empty() => {
                Self::Wrong(format!("/{word} takes nothing behind it"))
            }
            "help" => Self::Help,
            "chats" => Self::Chats,
            "open" if rest.is_empty() => Self::Wrong("usage: /open CHAT; /chats lists them".into()),
            "open" => Self::Open(rest.to_owned()),
            "new" => new(rest),
            "dm" => match people(rest) {
                Some(people) if people.len() == 1 => Self::Direct(people.into_iter().next().unwrap_or_default()),
                _ => Self::Wrong("usage: /dm @user, with one user and nothing else".into()),
            },
            "add" => add(rest),
            "remove" => people(rest).map_or_else(|| Self::Wrong("usage: /remove @user ...".into()), Self::Remove),
            "leave" => Self::Leave,
            "who" => Self::Who,
            "history" if rest.is_empty() => Self::History(HISTORY_DEFAULT),
            "history" => match rest.parse() {
                Ok(count @ 1..=HISTORY_MAX) => Self::History(count),
                _ => Self::Wrong(format!("usage: /history [N], from 1 to {HISTORY_MAX}")),
            },
            "quit" => Self::Quit,
            _ => Self::Wrong(format!("there is no /{word}; /help lists what there is")),
        }
    }
}

/// The name is everything before the first `@user`.
fn new(rest: &str) -> Input {
    let (name, members) = match rest.find('@') {
        Some(at) => (rest[..at].trim(), people(&rest[at..])),
        None => (rest, Some(Vec::new())),
    };
    match members {
        Some(_) if name.starts_with(['/', '"']) => {
            Input::Wrong("a chat's name begins neither with a slash nor with a quotation mark".into())
        }
        Some(members) if !name.is_empty() => Input::New { name: name.to_owned(), members },
        _ => Input::Wrong("usage: /new NAME @user ...".into()),
    }
}

/// `@user ...`, and perhaps `+history` behind them.
fn add(rest: &str) -> Input {
    let (names, with_history) = rest.strip_suffix(" +history").map_or((rest, false), |names| (names, true));
    match people(names) {
        Some(members) => Input::Add { members, with_history },
        None => Input::Wrong("usage: /add @user ... [+history]".into()),
    }
}

/// One or more `@user`, with their signs.
fn people(text: &str) -> Option<Vec<String>> {
    let people: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    (!people.is_empty() && people.iter().all(|who| who.len() > 1 && who.starts_with('@'))).then_some(people)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_said_as_it_was_typed() {
        assert_eq!(Input::parse("  hello /there \n"), Input::Say("  hello /there ".into()));
        assert_eq!(Input::parse("//help"), Input::Say("/help".into()));
        assert_eq!(Input::parse(" \t\r\n"), Input::Nothing);
        assert_eq!(Input::parse("/quit\nor not"), Input::Say("/quit\nor not".into()));
    }

    #[test]
    fn commands_take_what_they_need() {
        let members = vec!["@ben".to_owned(), "@eve".to_owned()];
        assert_eq!(
            Input::parse("/new tea time @ben @eve"),
            Input::New { name: "tea time".into(), members: members.clone() }
        );
        assert_eq!(Input::parse("/new notes"), Input::New { name: "notes".into(), members: Vec::new() });
        assert_eq!(Input::parse("/add @ben  @eve"), Input::Add { members: members.clone(), with_history: false });
        assert_eq!(Input::parse("/add @ben @eve +history"), Input::Add { members, with_history: true });
        assert_eq!(Input::parse("/dm @ben"), Input::Direct("@ben".into()));
        assert_eq!(Input::parse("/open tea time"), Input::Open("tea time".into()));
        assert_eq!(Input::parse("/history"), Input::History(HISTORY_DEFAULT));
        assert_eq!(Input::parse("/history 5"), Input::History(5));
    }

    #[test]
    fn a_wrong_line_says_what_is_wrong() {
        for line in [
            "/open",
            "/new",
            "/new @ben",
            "/new /quit @ben",
            "/dm",
            "/dm @a @b",
            "/add ben",
            "/add +history",
            "/remove",
            "/history 0",
            "/history x",
            "/nope",
            "/dm ben extra words",
            "/dm @ben extra words",
            "/leave tea",
            "/quit now",
        ] {
            assert!(matches!(Input::parse(line), Input::Wrong(_)), "{line}");
        }
    }
}
