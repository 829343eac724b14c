"""The sandbox as a service: sessions in boxes, behind a URL, that survive the death of what serves them."""
