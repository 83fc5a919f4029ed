// The places of the client table, by java.net.http.HttpClient.
// Prints a line for each place: its name and the status of the answer, or `refused`.

import java.net.Authenticator;
import java.net.PasswordAuthentication;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.util.function.UnaryOperator;

public class Places {
    static final String BASE = "https://api.example.test";
    static final String P = "<<pat>>";
    static HttpClient client;

    static void send(String place, String url, UnaryOperator<HttpRequest.Builder> change) {
        try {
            var request = change.apply(HttpRequest.newBuilder(URI.create(url))).build();
            System.out.println(place + " " + client.send(request, BodyHandlers.ofString()).statusCode());
        } catch (Exception refusal) {
            System.err.println(place + " " + refusal);
            System.out.println(place + " refused");
        }
    }

    public static void main(String[] args) {
        client = HttpClient.newBuilder()
            .version(args[0].equals("h2") ? HttpClient.Version.HTTP_2 : HttpClient.Version.HTTP_1_1)
            .authenticator(new Authenticator() {
                @Override
                protected PasswordAuthentication getPasswordAuthentication() {
                    return new PasswordAuthentication("user", P.toCharArray());
                }
            })
            .build();
        var form = "k=" + URLEncoder.encode(P, StandardCharsets.UTF_8) + "&b=1";
        send("header", BASE + "/header", r -> r.header("X-Api-Key", P));
        send("typed", BASE + "/typed?k=" + P + "&b=1", r -> r);
        send("query", BASE + "/query?" + form, r -> r);
        send("path", BASE + "/path/" + P + "/x", r -> r);
        send("form", BASE + "/form", r -> r
            .header("Content-Type", "application/x-www-form-urlencoded")
            .POST(BodyPublishers.ofString(form)));
        send("json", BASE + "/json", r -> r
            .header("Content-Type", "application/json")
            .POST(BodyPublishers.ofString("{\"k\":\"" + P + "\",\"n\":1}")));
        send("basic", BASE + "/basic", r -> r);
        send("userinfo", "https://user:" + P + "@api.example.test/userinfo", r -> r);
        send("unknown", BASE + "/unknown", r -> r.header("X-Api-Key", "<<nope>>"));
    }
}
