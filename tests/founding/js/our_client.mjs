// A founding client in our words. It is what `test_javascript.py` runs where the document is not at hand.
class VillaClient {
  constructor(address = 'ws://localhost:8001/ws/dating_show/') {
    this.socket = new WebSocket(address);
    this.socket.onmessage = ({ data }) => this.receive(JSON.parse(data));
  }

  receive(frame) {
    if (frame.type === 'agent_update') this.updateAgentUI(frame.agent_id, frame.data);
  }

  sendAgentAction(agent_id, action, params = {}) {
    this.socket.send(JSON.stringify({ type: 'agent_action', agent_id, action, params }));
  }
}

const client = new VillaClient();
