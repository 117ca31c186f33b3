"""A listening machine, and clients made by hand at port 1, 2, 3 …"""

from model.conversation import MACHINE, PEER, Conversation
from tcplab.core.segment import ACK, SYN, Endpoint, Segment, seq_add


class Clients:
    """What several clients say to one listener, and what each hears."""

    def __init__(self, backlog, **more):
        self.machine = Conversation("listening", backlog=backlog, **more).play("0 listen()")
        self.numbers = {}

    def says(self, client, flags, seq, ack=0, length=0):
        machine, far = self.machine, Endpoint(PEER, client)
        segment = Segment(far, Endpoint(MACHINE, 5432), seq, ack, flags, 65535, length, mss=1460)
        machine.stack.receive(machine.now, segment)
        answers = [each for each in machine.stack.to_send() if each.destination.port == client]
        for each in answers:
            if each.flags & SYN:
                self.numbers[client] = each.seq
        return "".join(each.letters for each in answers)

    def opens(self, client):
        """SYN and last step; what came back to each."""
        return self.says(client, SYN, 0), self.last_step(client)

    def last_step(self, client, length=0):
        return self.says(client, ACK, 1, seq_add(self.numbers.get(client, 0), 1), length)

    def counted(self, *names):
        """Counters by their last words: `ListenDrops`."""
        return [self.machine.stack.counters.get(f"TcpExt{name}", 0) for name in names]

    def state(self, client):
        key = Endpoint(MACHINE, 5432), Endpoint(PEER, client)
        entry = self.machine.stack.sockets.get(key)
        return entry.state if entry else "CLOSED"
