# The places of the client table, by curl with the options given.
# Prints a line for each place: its name and the status of the answer.

base=https://api.example.test
place() {
    name=$1
    shift
    status=$(curl -sS --max-time 60 -o /dev/null -w '%{http_code}' "$@") || status=refused
    echo "$name $status"
}
place header "$@" -H 'X-Api-Key: <<pat>>' "$base/header"
place typed "$@" "$base/typed?k=<<pat>>&b=1"
place query "$@" -G --data-urlencode 'k=<<pat>>' -d b=1 "$base/query"
place path "$@" "$base/path/<<pat>>/x"
place form "$@" --data-urlencode 'k=<<pat>>' -d b=1 "$base/form"
place json "$@" -H 'Content-Type: application/json' -d '{"k":"<<pat>>","n":1}' "$base/json"
place basic "$@" -u 'user:<<pat>>' "$base/basic"
place userinfo "$@" 'https://user:<<pat>>@api.example.test/userinfo'
place unknown "$@" -H 'X-Api-Key: <<nope>>' "$base/unknown"
