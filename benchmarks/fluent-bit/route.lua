-- The path with a placeholder for each id.
local hex = "%x"
local id = hex:rep(8) .. "%-" .. hex:rep(4) .. "%-" .. hex:rep(4) .. "%-" .. hex:rep(4) .. "%-" .. hex:rep(12)

function route(tag, timestamp, record)
  record["route"] = string.gsub(record["path"], id, "{id}")
  return 2, timestamp, record
end
