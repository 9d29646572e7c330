//! What a restored copy must have, and what it has.

use super::Fallible;

/// A mark that is written before everything is quiesced, in one place of an application: a database, a table on a volume
/// of its own, the position of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Canary {
    /// Where.
    pub(crate) place: &'static str,
    /// What stands there; it grows from cycle to cycle.
    pub(crate) token: u64,
}

/// The rows of one client in one table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rows {
    /// How many there are.
    pub(crate) count: u64,
    /// The highest number among them: the count, unless one is missing.
    pub(crate) last: u64,
}

/// A table that every client writes to, with the rows of each of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    /// Its name.
    pub(crate) name: &'static str,
    /// By client.
    pub(crate) clients: Vec<Rows>,
}

/// What can be asked of an application and of each copy of it.
pub(crate) trait Database {
    /// All canaries, in the same order every time.
    fn canaries(&self) -> Fallible<Vec<Canary>>;

    /// All tables, in the order in which a row is written to them.
    fn tables(&self) -> Fallible<Vec<Table>>;

    /// The engine's own checks.
    fn check(&self) -> Fallible<()>;

    /// What its log tells that a copy of something held cannot tell, though a copy of something that crashed may.
    fn trace_of_a_crash(&self) -> Option<String> {
        None
    }
}

/// What was there when the snapshot was begun.
#[derive(Clone, Debug)]
pub(crate) struct Promise {
    /// Every canary.
    pub(crate) canaries: Vec<Canary>,
    /// By client, how many rows were acknowledged.
    pub(crate) acknowledged: Vec<u64>,
    /// By how many rows a table may be behind the one that is written before it: none, when both are written in one
    /// transaction.
    pub(crate) apart: u64,
    /// What the application had while everything was held, where it can be asked then: the copy has the same.
    pub(crate) held: Option<Vec<Table>>,
}

/// What a snapshot was worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything is there.
    Good,
    /// It starts, and something is missing, damaged, or does not go together.
    Torn(String),
    /// The engine does not start on it.
    Refused(String),
}

impl Promise {
    /// Looks whether a copy keeps it.
    pub(crate) fn judge(&self, copy: &dyn Database) -> Outcome {
        let faults = || -> Fallible<Option<String>> {
            copy.check()?;
            let (canaries, tables) = (copy.canaries()?, copy.tables()?);
            let crashed = || self.held.as_ref().and_then(|_| copy.trace_of_a_crash());
            Ok(self.stale_canary(&canaries).or_else(|| self.fault_of(&tables)).or_else(crashed))
        };
        match faults() {
            Ok(None) => Outcome::Good,
            Ok(Some(fault)) => Outcome::Torn(fault),
            Err(error) => Outcome::Torn(error.to_string()),
        }
    }

    fn stale_canary(&self, found: &[Canary]) -> Option<String> {
        let told = |canary: &Canary| found.iter().find(|other| other.place == canary.place);
        self.canaries.iter().find_map(|canary| {
            let token = told(canary).map_or(0, |other| other.token);
            let Canary { place, token: written } = canary;
            (token < *written).then(|| format!("the canary of {place} is {token}, and was {written}"))
        })
    }

    fn fault_of(&self, tables: &[Table]) -> Option<String> {
        let missing = tables.iter().find_map(|table| self.missing_rows(table));
        let apart = || tables.windows(2).find_map(|pair| self.distance(&pair[0], &pair[1]));
        let held = || match &self.held {
            Some(held) if held != tables => Some(format!("it is {tables:?}, and was held as {held:?}")),
            _ => None,
        };
        missing.or_else(apart).or_else(held)
    }

    fn missing_rows(&self, table: &Table) -> Option<String> {
        let name = table.name;
        self.acknowledged.iter().enumerate().find_map(|(client, &acknowledged)| {
            let Rows { count, last } = table.clients.get(client).copied().unwrap_or_default();
            if last < acknowledged {
                let lost = acknowledged - last;
                return Some(format!("{name}: {lost} of {acknowledged} acknowledged rows are lost"));
            }
            (count != last).then(|| format!("{name}: {count} rows up to number {last}"))
        })
    }

    /// A row is never in the later table alone.
    fn distance(&self, first: &Table, second: &Table) -> Option<String> {
        let pairs = first.clients.iter().zip(&second.clients);
        let together =
            |(one, two): &(&Rows, &Rows)| one.last >= two.last && one.last <= two.last + self.apart;
        pairs.into_iter().find(|pair| !together(pair)).map(|(one, two)| {
            format!("{} ends with row {}, {} with row {}", first.name, one.last, second.name, two.last)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A copy that has what it is told to have.
    struct Copy {
        token: u64,
        near: Rows,
        far: Rows,
        damage: Option<&'static str>,
    }

    impl Database for Copy {
        fn canaries(&self) -> Fallible<Vec<Canary>> {
            Ok(vec![Canary { place: "far", token: self.token }])
        }

        fn tables(&self) -> Fallible<Vec<Table>> {
            let table = |name, rows| Table { name, clients: vec![rows] };
            Ok(vec![table("near", self.near), table("far", self.far)])
        }

        fn check(&self) -> Fallible<()> {
            self.damage.map_or(Ok(()), |damage| Err(damage.into()))
        }
    }

    fn rows(last: u64) -> Rows {
        Rows { count: last, last }
    }

    fn good() -> Copy {
        Copy { token: 7, near: rows(20), far: rows(20), damage: None }
    }

    fn promise() -> Promise {
        let canaries = vec![Canary { place: "far", token: 7 }];
        Promise { canaries, acknowledged: vec![18], apart: 0, held: None }
    }

    fn fault(copy: &Copy) -> String {
        match promise().judge(copy) {
            Outcome::Torn(fault) => fault,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_copy_with_everything_is_good_also_with_more_than_was_acknowledged() {
        assert_eq!(promise().judge(&good()), Outcome::Good);
    }

    #[test]
    fn an_older_canary_is_a_fault_though_all_rows_are_there() {
        assert_eq!(fault(&Copy { token: 6, ..good() }), "the canary of far is 6, and was 7");
    }

    #[test]
    fn lost_rows_are_counted() {
        let copy = Copy { far: rows(15), ..good() };
        assert_eq!(fault(&copy), "far: 3 of 18 acknowledged rows are lost");
    }

    #[test]
    fn a_hole_is_a_fault_though_the_last_row_is_there() {
        let copy = Copy { near: Rows { count: 19, last: 20 }, ..good() };
        assert_eq!(fault(&copy), "near: 19 rows up to number 20");
    }

    #[test]
    fn tables_of_one_transaction_that_differ_are_a_fault() {
        let copy = Copy { near: rows(21), ..good() };
        assert_eq!(fault(&copy), "near ends with row 21, far with row 20");
    }

    #[test]
    fn a_row_may_be_on_its_way_from_one_table_to_the_other_but_not_back() {
        let promise = Promise { apart: 1, ..promise() };
        assert_eq!(promise.judge(&Copy { near: rows(21), ..good() }), Outcome::Good);
        assert!(matches!(promise.judge(&Copy { far: rows(21), ..good() }), Outcome::Torn(_)));
    }

    #[test]
    fn what_was_held_is_what_is_restored() {
        let held = good().tables().ok();
        let promise = Promise { held, ..promise() };
        assert_eq!(promise.judge(&good()), Outcome::Good);
        let later = Copy { near: rows(21), far: rows(21), ..good() };
        assert!(matches!(promise.judge(&later), Outcome::Torn(fault) if fault.contains("was held as")));
    }

    #[test]
    fn what_the_engine_itself_finds_is_a_fault() {
        assert_eq!(
            fault(&Copy { damage: Some("index t_pkey lacks a row"), ..good() }),
            "index t_pkey lacks a row"
        );
    }
}
