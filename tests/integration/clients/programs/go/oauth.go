package main

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// oauthClient asks for a token in each of the ways that clients may identify themselves, and uses it.
func oauthClient() {
	for _, style := range []oauth2.AuthStyle{oauth2.AuthStyleInHeader, oauth2.AuthStyleInParams, oauth2.AuthStyleAutoDetect} {
		config := clientcredentials.Config{
			ClientID:     "a client/1",
			ClientSecret: placeholder,
			TokenURL:     "https://" + host + "/token",
			AuthStyle:    style,
		}
		answer, err := config.Client(context.Background()).Get("https://" + host + "/resource")
		must(err)
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		must(err)
		expect("the resource is given", answer.StatusCode == http.StatusOK, fmt.Sprint(answer.Status, string(text)))
	}
}
