// The places of the client table, by Go's net/http.
// Prints a line for each place: its name and the status of the answer, or `refused`.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
)

const (
	base        = "https://api.example.test"
	placeholder = "<<pat>>"
)

func send(place, method, target string, body io.Reader, change func(*http.Request)) {
	request, err := http.NewRequest(method, target, body)
	if err == nil {
		if change != nil {
			change(request)
		}
		var answer *http.Response
		if answer, err = http.DefaultClient.Do(request); err == nil {
			io.Copy(io.Discard, answer.Body)
			answer.Body.Close()
			fmt.Println(place, answer.StatusCode)
			return
		}
	}
	fmt.Fprintln(os.Stderr, place, err)
	fmt.Println(place, "refused")
}

func main() {
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	form := url.Values{"k": {placeholder}, "b": {"1"}}.Encode()
	document, err := json.Marshal(map[string]any{"k": placeholder, "n": 1})
	if err != nil {
		panic(err)
	}
	// What the table is about: Go writes the brackets as escapes.
	if !bytes.Contains(document, []byte(`\u003c\u003cpat\u003e\u003e`)) {
		panic("encoding/json no longer escapes")
	}
	send("header", "GET", base+"/header", nil, header("X-Api-Key", placeholder))
	send("typed", "GET", base+"/typed?k="+placeholder+"&b=1", nil, nil)
	send("query", "GET", base+"/query?"+form, nil, nil)
	send("path", "GET", base+"/path/"+placeholder+"/x", nil, nil)
	send("form", "POST", base+"/form", strings.NewReader(form), header("Content-Type", "application/x-www-form-urlencoded"))
	send("json", "POST", base+"/json", bytes.NewReader(document), header("Content-Type", "application/json"))
	send("basic", "GET", base+"/basic", nil, func(r *http.Request) { r.SetBasicAuth("user", placeholder) })
	send("userinfo", "GET", "https://user:"+placeholder+"@api.example.test/userinfo", nil, nil)
	send("unknown", "GET", base+"/unknown", nil, header("X-Api-Key", "<<nope>>"))
}
