-- wrk script: posts the body in the file $BODY and prints what the table needs as one line of JSON. $CLOSE: each request on a connection of
-- its own. $TOKEN: a bearer token. $PAUSE: milliseconds that each connection waits before its next request, on average.
local file = assert(io.open(os.getenv("BODY"), "rb"))
wrk.method = "POST"
wrk.body = file:read("*a")
wrk.headers["Content-Type"] = "application/json"
file:close()
if os.getenv("CLOSE") then wrk.headers["Connection"] = "close" end
if os.getenv("TOKEN") then wrk.headers["Authorization"] = "Bearer " .. os.getenv("TOKEN") end

local pause = tonumber(os.getenv("PAUSE"))
if pause then
  function delay() return math.random(0, 2 * pause) end
end

function done(summary, latency)
  local errors = summary.errors
  print(string.format(
    'RESULT {"requests": %d, "microseconds": %d, "p50": %d, "p99": %d, "errors": %d}',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
