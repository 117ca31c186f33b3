"""Follow a connection: what each packet is, both ends' states, and what stayed unanswered.

Every picture, finding and replay uses this package, whether the packets come from the model, from Linux or
from a capture. The wire gives addresses, flags, numbers, lengths, windows and times; the rest
is inferred in this order, and each step uses only the steps before it.

1. **Which connection** a segment belongs to: see `tcplab.core.connections`.

2. **What kind of packet** it is. `classify` follows one number per direction, SND.NXT: the highest
   sequence number sent (RFC 9293 section 3.3.1).

   - A *retransmission* carries SYN, FIN or payload that lies before SND.NXT. TCP sends in order, hence
     all of it was sent before, even where a capture missed it.
   - A *keepalive* probe is at SND.NXT-1 with 0 or 1 byte (RFC 9293 section 3.8.4; Linux sends 0,
     net/ipv4/tcp_output.c:tcp_xmit_probe_skb). A single byte that is still unacknowledged is data sent
     again: TCP does not probe a connection with data in flight.
   - A *window probe* looks the same, but answers a closed window. Other systems than Linux probe with
     one new byte instead (RFC 9293 section 3.8.6.1).

   A window that is in flight, was lost, or was in a RST or a probe (which a receiver discards) is not
   known to the peer.

3. **What became of each RST.** `Followed.resets` follows what each receiver has and applies the model's
   own rule. The receiver's later behaviour takes precedence, since a capture sees one point of the path.

4. **What stayed unanswered**, and until when: the other questions of `Followed`.

5. **Both ends' states.** `EndStates` takes both ends through the model's table. A model and a Linux bench
   know their sockets; a capture has only packets, so only what they show is inferred:

   - a FIN has arrived when a segment of the other end acknowledges it: at once where that is its next;
   - a RST is not taken to arrive at an end that has stopped answering;
   - a timer is shown only where the packet that it sent follows: the capture shows when it expired;
   - no packet shows how much data is unread at a receiver or unsent at a sender.
"""

from tcplab.follow.ends import EndState as EndState
from tcplab.follow.ends import EndStates as EndStates
from tcplab.follow.ends import in_order as in_order
from tcplab.follow.followed import PATIENCE as PATIENCE
from tcplab.follow.followed import SILENCE as SILENCE
from tcplab.follow.followed import Followed as Followed
from tcplab.follow.followed import Unanswered as Unanswered
from tcplab.follow.kinds import CLIENT as CLIENT
from tcplab.follow.kinds import KEEPALIVE as KEEPALIVE
from tcplab.follow.kinds import OFTEN as OFTEN
from tcplab.follow.kinds import OTHER as OTHER
from tcplab.follow.kinds import RETRANSMISSION as RETRANSMISSION
from tcplab.follow.kinds import SERVER as SERVER
from tcplab.follow.kinds import WINDOW_PROBE as WINDOW_PROBE
from tcplab.follow.kinds import classify as classify
