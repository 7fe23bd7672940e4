//! What a thread's connections tell the engine, or the thread that has it.

use std::net::IpAddr;

use symple_engine::server::{ConnId, Text, TransportFault};

use crate::{
    http::{Policy, RefusedUpgrade, Upgrade},
    net::connection::{Gone, Phase},
    net::table::ConnectionTable,
    runtime::Socket,
    server::hooks::{Acceptance, UpgradeDecision},
};

/// Those who decide what happens: told of everything, they act on the connections.
pub(crate) trait Upstream<S> {
    /// What decides about requests now.
    fn policy(&self) -> Policy<'_>;
    /// So much waits for them that nothing more should be read.
    fn is_full(&self) -> bool;
    /// Asks the application's hook about an upgrade. False if there is none.
    fn ask_upgrade(&self, id: ConnId, upgrade: &Upgrade) -> bool;
    /// A connection asks to become a WebSocket connection.
    fn upgrade(&mut self, table: &mut ConnectionTable<S>, id: ConnId, upgrade: Box<Upgrade>)
    where
        S: Socket,
    {
        if self.ask_upgrade(id, &upgrade) {
            table.enter(id, Phase::Deciding(upgrade));
        } else if let Some(upgrade) = table.accept(id, upgrade, &Acceptance::default()) {
            self.connected(table, id, *upgrade);
        }
    }
    /// The hook has decided about an upgrade.
    fn upgrade_decided(
        &mut self,
        table: &mut ConnectionTable<S>,
        id: ConnId,
        decision: UpgradeDecision,
    ) where
        S: Socket,
    {
        match table.decide(id, decision) {
            Some(Ok(upgrade)) => self.connected(table, id, *upgrade),
            Some(Err(refused)) => self.refused(&refused),
            None => {}
        }
    }
    /// A connection has become a WebSocket connection.
    fn connected(&mut self, table: &mut ConnectionTable<S>, id: ConnId, upgrade: Upgrade);
    /// A text arrived.
    fn text(&mut self, table: &mut ConnectionTable<S>, id: ConnId, text: &str);
    /// So many frames without text arrived.
    fn frames(&mut self, table: &mut ConnectionTable<S>, id: ConnId, count: u32);
    /// A client has left while nothing was to be handled; what it had sent before follows.
    fn departed(&mut self, table: &mut ConnectionTable<S>, id: ConnId);
    /// A connection does not take what it is sent as fast as it is sent.
    fn behind(&mut self, table: &mut ConnectionTable<S>, id: ConnId);
    /// A connection has taken what it was sent.
    fn drained(&mut self, table: &mut ConnectionTable<S>, id: ConnId);
    /// A text of this sender was refused where it was addressed to.
    fn undelivered(&mut self, table: &mut ConnectionTable<S>, id: ConnId, text: Text);
    /// A connection broke a rule.
    fn fault(&mut self, table: &mut ConnectionTable<S>, id: ConnId, fault: TransportFault);
    /// A connection that was known is gone, or is as good as gone.
    fn disconnected(&mut self, table: &mut ConnectionTable<S>, id: ConnId, gone: Gone);
    /// An upgrade was refused: it is counted, logged and told.
    fn refused(&mut self, refused: &RefusedUpgrade);
    /// An upgrade has come to nothing, with this status of an answer if there was one: whoever reads
    /// events is told.
    fn upgrade_failed(&self, address: IpAddr, status: Option<u16>, reason: &str);
    /// A slot is free.
    fn removed(&mut self, id: ConnId);
    /// How many bytes they keep of what clients have sent, here (R-L7).
    fn kept(&self) -> usize;
    /// How many of those are of this connection.
    fn kept_of(&self, id: ConnId) -> usize;
}
