-- Prints wrk's own figures as one line of JSON. Latencies are microseconds, duration too.

-- wrk keeps whole microseconds, too coarse to tell 18 from 19 within 5 %. How much of the distribution lies on
-- the value of a percentile is found by bisection, and the percentile placed within that microsecond accordingly.
local function fine(latency, wanted)
   local value = latency:percentile(wanted)
   local function edge(low, high, inside)
      for _ = 1, 24 do
         local middle = (low + high) / 2
         if inside(latency:percentile(middle)) then high = middle else low = middle end
      end
      return high
   end
   local from = edge(0, wanted, function(found) return found >= value end)
   local to = edge(wanted, 100, function(found) return found > value end)
   return value - 0.5 + (wanted - from) / math.max(to - from, 1e-9)
end

done = function(summary, latency, requests)
   local errors = summary.errors
   io.write(string.format(
      '{"requests":%d,"duration":%d,"bytes":%.0f,"p50":%.3f,"p99":%.3f,"errors":%d}\n',
      summary.requests, summary.duration, summary.bytes,
      summary.requests > 0 and fine(latency, 50) or 0, summary.requests > 0 and fine(latency, 99) or 0,
      errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
