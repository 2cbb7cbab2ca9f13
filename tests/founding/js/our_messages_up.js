// which news are wanted
{ "type": "subscribe", "channels": ["agent_notifications", "dating_show_updates"] }
// somebody is to go somewhere
{ "type": "agent_action", "agent_id": "agent_002", "action": "move", "params": { "location": "pool" } }
// are you there?
{ "type": "ping", "timestamp": Date.now() }
