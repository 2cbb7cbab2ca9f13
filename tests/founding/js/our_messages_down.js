// an agent as it is now
{ "type": "agent_update", "agent_id": "agent_001", "update_type": "state_change", "data": {}, "timestamp": 0.5 }
// news for everybody
{ "type": "system_notification", "level": "info", "message": "Rose ceremony starting", "timestamp": 0.5 }
// the first frame
{ "type": "connection_established", "connection_id": "ws_1", "timestamp": 0.5 }
