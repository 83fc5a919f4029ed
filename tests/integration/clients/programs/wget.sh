# The places of the client table, by wget.
# Prints a line for each place: its name and the status of the last answer.

base=https://api.example.test
place() {
    name=$1
    shift
    wget -nv -S -O /dev/null -t 1 -T 60 "$@" 2>wget.log
    status=$(sed -n 's/^ *HTTP\/1\.[01] \([0-9]*\).*/\1/p' wget.log | tail -1)
    [ -n "$status" ] || cat wget.log >&2
    echo "$name ${status:-refused}"
}
place header --header 'X-Api-Key: <<pat>>' "$base/header"
place typed "$base/typed?k=<<pat>>&b=1"
place path "$base/path/<<pat>>/x"
place form --post-data 'k=<<pat>>&b=1' "$base/form"
place basic --user user --password '<<pat>>' "$base/basic"
place userinfo 'https://user:<<pat>>@api.example.test/userinfo'
place unknown --header 'X-Api-Key: <<nope>>' "$base/unknown"
