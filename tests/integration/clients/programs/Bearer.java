// Sends a bearer token by two clients of the JDK, without a word about a proxy.
// Prints the status of each answer.

import java.net.HttpURLConnection;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;

public class Bearer {
    public static void main(String[] args) throws Exception {
        var url = URI.create("https://api.example.test/bearer");
        var request = HttpRequest.newBuilder(url).header("Authorization", "Bearer <<pat>>").build();
        System.out.println(HttpClient.newHttpClient().send(request, BodyHandlers.ofString()).statusCode());
        var connection = (HttpURLConnection) url.toURL().openConnection();
        connection.setRequestProperty("Authorization", "Bearer <<pat>>");
        System.out.println(connection.getResponseCode());
    }
}
