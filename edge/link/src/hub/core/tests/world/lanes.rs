//! What lanes do and take for granted.

use super::*;

impl World {
    pub(super) fn token(&mut self, lane: usize) -> u64 {
        self.lanes[lane].questions += 1;
        self.lanes[lane].questions << 8 | lane as u64
    }

    pub(super) fn ask(&mut self, lane: usize, entity: EntityId) -> u64 {
        let token = self.token(lane);
        let admit = Admit { token, user: user(1), entity, cursor: None, member: None, opens: None };
        self.lanes[lane].up.push_back(Up::Admit(admit));
        self.lanes[lane].entities.entry(entity).or_default().out.push(token);
        token
    }

    pub(super) fn lane_acts(&mut self, lane: usize, entity: EntityId) {
        match self.chance.random_range(0..10) {
            0..4 => drop(self.ask(lane, entity)),
            4..6 => {
                let token = self.token(lane);
                self.lanes[lane].reads.insert(token, (entity, None));
                self.lanes[lane].up.push_back(Up::Read(Read { token, user: user(1), entity, query: ReadQuery::Info }));
            }
            6 => {
                // An answer did not come in time.
                let one = self.lanes[lane].entities.entry(entity).or_default();
                if let Some(token) = one.out.pop() {
                    self.gave_up(lane, entity, token);
                    self.goodbye(lane, entity);
                }
            }
            _ => {
                let one = self.lanes[lane].entities.entry(entity).or_default();
                if one.out.is_empty() && one.next.take().is_some() {
                    self.goodbye(lane, entity);
                }
            }
        }
    }

    /// Who waited for a new admission listens no more.
    pub(super) fn gave_up(&mut self, lane: usize, entity: EntityId, token: u64) {
        let one = self.lanes[lane].entities.entry(entity).or_default();
        if one.readmission.take_if(|readmission| *readmission == token).is_some() {
            one.next = None;
        }
    }

    pub(super) fn goodbye(&mut self, lane: usize, entity: EntityId) {
        let lane = &mut self.lanes[lane];
        if lane.entities.get(&entity).is_some_and(|one| one.out.is_empty() && one.next.is_none()) {
            lane.up.push_back(Up::Forget { entity });
        }
    }

    pub(super) fn lane_up(&mut self, lane: usize) {
        if let Some(up) = self.lanes[lane].up.pop_front() {
            self.core.up(u8::try_from(lane).unwrap(), up);
        }
    }

    pub(super) fn lane_down(&mut self, lane: usize) {
        let Some(down) = self.lanes[lane].down.pop_front() else { return };
        match down {
            Down::Owner { shard, generation } => {
                self.newest(lane, shard, generation);
                self.ask_again(lane, shard);
            }
            Down::Admitted(admitted) => self.lane_admitted(lane, &admitted),
            Down::Events(events) => {
                self.newest(lane, events.entity.shard(SHARDS), events.generation);
                for event in &events.events {
                    self.lane_event(lane, events.entity, event.seq.0);
                }
            }
            Down::Head { generation, entity, head, readmit } => {
                self.newest(lane, entity.shard(SHARDS), generation);
                if readmit {
                    self.readmit(lane, entity);
                } else if let Some(next) = self.lanes[lane].entities.get_mut(&entity).and_then(|one| one.next.as_mut())
                {
                    *next = (*next).max(head.0 + 1);
                }
            }
            Down::Readmit { shard, generation } => {
                self.newest(lane, shard, generation);
                let entities: Vec<EntityId> = self.lanes[lane].entities.keys().copied().collect();
                for entity in entities.into_iter().filter(|entity| entity.shard(SHARDS) == shard) {
                    self.readmit(lane, entity);
                }
            }
            Down::Read(reply) => {
                let Some((_, first)) = self.lanes[lane].reads.get_mut(&reply.token) else { return };
                let body = reply.body.expect("reads are not refused here");
                let first = first.get_or_insert_with(|| body.clone());
                assert_eq!(*first, body, "all parts are of one term");
                if reply.last {
                    self.lanes[lane].reads.remove(&reply.token);
                }
            }
            other => panic!("{other:?} is not for a lane"),
        }
    }

    /// What comes down is of the newest term that this lane knows.
    pub(super) fn newest(&mut self, lane: usize, shard: ShardId, generation: Generation) {
        let known = self.lanes[lane].generations.entry(shard).or_default();
        assert!(*known <= generation, "a frame of an older term reached a lane");
        *known = generation;
    }

    pub(super) fn ask_again(&mut self, lane: usize, shard: ShardId) {
        let lane = &mut self.lanes[lane];
        for (entity, one) in lane.entities.iter().filter(|(entity, _)| entity.shard(SHARDS) == shard) {
            for token in &one.out {
                let admit =
                    Admit { token: *token, user: user(1), entity: *entity, cursor: None, member: None, opens: None };
                lane.up.push_back(Up::Admit(admit));
            }
        }
        lane.reads.retain(|token, (entity, first)| {
            let here = entity.shard(SHARDS) == shard;
            if here && first.is_none() {
                let read = Read { token: *token, user: user(1), entity: *entity, query: ReadQuery::Info };
                lane.up.push_back(Up::Read(read));
            }
            !here || first.is_none()
        });
    }

    pub(super) fn lane_admitted(&mut self, lane: usize, admitted: &Admitted) {
        let (entity, token) = (admitted.entity, admitted.token);
        self.newest(lane, entity.shard(SHARDS), admitted.generation);
        let one = self.lanes[lane].entities.entry(entity).or_default();
        let Some(place) = one.out.iter().position(|out| *out == token) else { return };
        one.out.remove(place);
        match &admitted.outcome {
            Ok(admission) => {
                let next = admission.head.0 + 1;
                let readmitted = one.readmission.take_if(|readmission| *readmission == token).is_some();
                match one.next {
                    Some(before) if !readmitted && one.readmission.is_none() => {
                        assert!(
                            before == next || (self.late_tails && before < next),
                            "lane {lane} has what stands before an admission: {before} of {next}"
                        );
                        one.gap |= before < next;
                    }
                    _ => one.gap = false,
                }
                if readmitted || one.readmission.is_none() {
                    one.next = Some(next);
                }
            }
            Err(_) => self.gave_up(lane, entity, token),
        }
        self.goodbye(lane, entity);
    }

    pub(super) fn lane_event(&mut self, lane: usize, entity: EntityId, seq: u64) {
        let one = self.lanes[lane].entities.entry(entity).or_default();
        match &mut one.next {
            Some(next) if one.readmission.is_none() => {
                assert!(
                    *next == seq || (self.late_tails && *next < seq),
                    "lane {lane} misses or repeats events of {entity:?}: {seq} comes for {next}"
                );
                one.gap |= *next < seq;
                *next = seq + 1;
                self.proven += 1;
            }
            None if one.out.is_empty() => self.lanes[lane].up.push_back(Up::Forget { entity }),
            _ => {}
        }
    }

    pub(super) fn readmit(&mut self, lane: usize, entity: EntityId) {
        if self.lanes[lane].entities.get(&entity).is_some_and(|one| one.next.is_some()) {
            let token = self.ask(lane, entity);
            let one = self.lanes[lane].entities.entry(entity).or_default();
            one.readmission = Some(token);
            one.gap = false;
        }
    }
}
