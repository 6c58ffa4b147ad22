-- For wrk: posts one photo again and again.
--   PHOTO=photo.jpg wrk -t1 -c8 -d6s --latency -s benches/post.lua http://127.0.0.1:8080/v1/detect
local file = assert(io.open(assert(os.getenv("PHOTO"), "PHOTO names no file"), "rb"))
wrk.method = "POST"
wrk.body = file:read("*a")
wrk.headers["Content-Type"] = "image/jpeg"
