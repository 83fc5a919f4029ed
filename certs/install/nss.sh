# A user's NSS database: Chromium on Linux, and with NSS_DATABASE=sql:PROFILE Firefox.
# sh nss.sh install|remove CA.pem NAME
set -eu
database=${NSS_DATABASE:-sql:$HOME/.pki/nssdb}
directory=${database#sql:}
case $1 in
install)
    if [ ! -e "$directory/cert9.db" ]; then
        mkdir -p "$directory"
        certutil -d "$database" -N --empty-password
    fi
    certutil -d "$database" -A -t C,, -n "$3" -i "$2"
    ;;
remove) certutil -d "$database" -D -n "$3" ;;
esac
