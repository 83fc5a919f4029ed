#!/bin/sh
# Subversion, with the proxy and the authority of `egret run`: it reads them from a file of the user's, or from
# options, and from no variable. Without these variables it is Subversion as it is.
own=${0%/*} name=${0##*/} real=
set -f
IFS=:
for directory in $PATH; do
    if [ "$directory" != "$own" ] && [ -f "$directory/$name" ] && [ -x "$directory/$name" ]; then
        real=$directory/$name
        break
    fi
done
unset IFS
set +f
if [ -z "$real" ]; then
    echo "$name: not found" >&2
    exit 127
fi
# These two take no such options where they say how they are used.
case $name,${1-} in
    svnsync,h | svnsync,help | svnsync,-h | svnsync,--help | svnsync,--version) exec "$real" "$@" ;;
    svnrdump,h | svnrdump,help | svnrdump,-h | svnrdump,--help | svnrdump,--version) exec "$real" "$@" ;;
esac
proxy=${HTTPS_PROXY#http://}
# Without arguments it says how it is used, and takes options for arguments.
case $#,$proxy in
    0,* | *, | *@* | *://*) exec "$real" "$@" ;;
esac
# The option takes the place of the user's own setting, which a host of `--no-proxy` may need.
authorities=$(sed -n '/^\[global]/,/^\[/s/^ssl-authority-files *= *//p' \
    /etc/subversion/servers "$HOME/.subversion/servers" 2>/dev/null | tr '\n' ';')
exec "$real" \
    --config-option "servers:global:http-proxy-host=${proxy%:*}" \
    --config-option "servers:global:http-proxy-port=${proxy##*:}" \
    --config-option "servers:global:http-proxy-exceptions=$NO_PROXY" \
    --config-option "servers:global:ssl-authority-files=$authorities$NODE_EXTRA_CA_CERTS" \
    "$@"
