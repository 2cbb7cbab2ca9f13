// An admin's socket in our words: asks twice, prints what it is told.
const admin = new WebSocket('ws://localhost:8001/ws/dating_show/admin/');
admin.onopen = () => {
  for (const command of ['get_health', 'get_metrics']) admin.send(JSON.stringify({ command }));
};
admin.onmessage = ({ data }) => console.log('Admin data:', JSON.parse(data));
