const { Pool } = require("pg");

module.exports = new Pool({
  host: "haproxy.internal",
  max: 10,
  idleTimeoutMillis: 30000,
  connectionTimeoutMillis: 5000,
  keepAlive: true,
  keepAliveInitialDelayMillis: 10000,
});
