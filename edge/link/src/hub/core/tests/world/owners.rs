//! What routers do as owners of shards.

use super::*;

impl World {
    pub(super) fn router_takes(&mut self, link: usize, up: Up) {
        let Link { number, router, .. } = self.links[link];
        let shard = up.shard(SHARDS);
        let Some(term) = self.terms[router].get_mut(&shard) else { return };
        match up {
            Up::Admit(_) | Up::Read(_) if !self.late_tails && !term.resumed.contains(&number) => {}
            Up::Admit(_) | Up::Read(_) => term.questions.push_back((number, up)),
            Up::Forget { entity } => {
                if let Some(links) = term.interest.get_mut(&entity) {
                    links.remove(&number);
                }
            }
            // It was stated to another term.
            Up::Resume(resume) if resume.generation.0 != term.generation => {}
            Up::Resume(resume) => {
                for entity in resume.entities {
                    term.interest.entry(entity).or_default().insert(number);
                }
                if resume.last {
                    let to = self.logs[usize::from(shard.0)].len();
                    let from = resume.watermark.map(|from| usize::try_from(from.offset).expect("it is small"));
                    term.tails.push_back((number, from, to));
                    if !self.late_tails {
                        self.owner_looks(shard);
                    }
                }
            }
            other => panic!("{other:?} is not sent here"),
        }
    }

    /// Tells a link what it may have missed.
    pub(super) fn owner_looks(&mut self, shard: ShardId) {
        for router in 0..ROUTERS {
            let Some(term) = self.terms[router].get_mut(&shard) else { continue };
            let Some((number, from, to)) = term.tails.pop_front() else { continue };
            let Some(link) = self.links.iter_mut().find(|link| link.number == number) else { continue };
            term.resumed.insert(number);
            let generation = Generation(term.generation);
            let Some(from) = from else {
                link.down.push_back(Down::Readmit { shard, generation });
                continue;
            };
            let tail = self.logs[usize::from(shard.0)].get(from..to).unwrap_or_default();
            for entity in tail.iter().copied().collect::<BTreeSet<_>>() {
                if term.interest.get(&entity).is_some_and(|links| links.contains(&number)) {
                    link.down.push_back(Down::Head { generation, entity, head: Seq(0), readmit: true });
                }
            }
        }
    }

    /// The owner answers the question that waits longest. A zombie answers none: it does not reach the log.
    pub(super) fn owner_answers(&mut self, shard: ShardId) {
        let (owner, _) = self.owners[usize::from(shard.0)];
        let Some(term) = self.terms[owner].get_mut(&shard) else { return };
        let Some((number, question)) = term.questions.pop_front() else { return };
        let generation = Generation(term.generation);
        let Some(link) = self.links.iter_mut().find(|link| link.number == number) else { return };
        match question {
            Up::Admit(admit) => {
                let outcome = if self.chance.random_bool(0.1) {
                    Err(Rejection::new(ErrorCode::NotMember))
                } else {
                    term.interest.entry(admit.entity).or_default().insert(number);
                    Ok(admission(self.heads[&admit.entity]))
                };
                let admitted = Admitted { token: admit.token, generation, entity: admit.entity, outcome };
                link.down.push_back(Down::Admitted(admitted));
            }
            Up::Read(read) => {
                for last in [false, true] {
                    let body = Ok(Bytes::copy_from_slice(&term.generation.to_be_bytes()));
                    link.down.push_back(Down::Read(ReadReply { token: read.token, last, body }));
                }
            }
            other => panic!("{other:?} is no question"),
        }
    }

    /// The owner stores an event and tells of it; on a full link only where the entity is.
    pub(super) fn event(&mut self, entity: EntityId) {
        let shard = entity.shard(SHARDS);
        let seq = self.heads[&entity] + 1;
        self.heads.insert(entity, seq);
        self.logs[usize::from(shard.0)].push(entity);
        let (owner, generation) = self.owners[usize::from(shard.0)];
        let generation = Generation(generation);
        let interested = self.terms[owner].get(&shard).and_then(|term| term.interest.get(&entity));
        for number in interested.into_iter().flatten() {
            let Some(link) = self.links.iter_mut().find(|link| link.number == *number) else { continue };
            link.down.push_back(if self.chance.random_bool(0.1) {
                Down::Head { generation, entity, head: Seq(seq), readmit: self.chance.random_bool(0.5) }
            } else {
                let event = LinkEvent { seq: Seq(seq), ends: None, event: Bytes::new() };
                Down::Events(Events { generation, entity, events: vec![event] })
            });
        }
    }

    pub(super) fn watermark(&mut self, shard: ShardId) {
        let (owner, generation) = self.owners[usize::from(shard.0)];
        let offset = self.logs[usize::from(shard.0)].len() as u64;
        let (generation, position) = (Generation(generation), Position { epoch: 1, offset });
        let Some(term) = self.terms[owner].get(&shard) else { return };
        for link in self.links.iter_mut().filter(|link| term.resumed.contains(&link.number)) {
            link.down.push_back(Down::Watermark { shard, generation, position });
        }
    }
}
