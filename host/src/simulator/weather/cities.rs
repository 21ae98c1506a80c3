//! The cities of the simulated service, each with constant weather.

use serde_json::{Value, json};

/// A city's weather applies within this many degrees of latitude and longitude.
const CITY_RADIUS: f64 = 0.5;

#[derive(Clone, Copy, Debug)]
pub(super) struct City {
    id: u32,
    pub(super) name: &'static str,
    region: &'static str,
    country: &'static str,
    country_code: &'static str,
    timezone: &'static str,
    population: u32,
    latitude: f64,
    longitude: f64,
    weather: Weather,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Weather {
    /// Metres.
    pub(super) elevation: f64,
    /// °C.
    temperature: f64,
    /// A WMO weather interpretation code (WMO 4677, as Open-Meteo uses it).
    code: u8,
    /// km/h.
    wind: f64,
    /// %.
    humidity: u8,
}

impl City {
    /// The city's entry in a geocoding answer.
    pub(super) fn place(&self) -> Value {
        json!({
            "id": self.id, "name": self.name, "latitude": self.latitude, "longitude": self.longitude,
            "elevation": self.weather.elevation, "feature_code": "PPL", "country_code": self.country_code,
            "timezone": self.timezone, "population": self.population, "country": self.country, "admin1": self.region,
        })
    }
}

impl Weather {
    /// A variable's value and unit.
    pub(super) fn variable(&self, name: &str) -> Option<(Value, &'static str)> {
        Some(match name {
            "temperature_2m" => (json!(self.temperature), "°C"),
            "weather_code" => (json!(self.code), "wmo code"),
            "wind_speed_10m" => (json!(self.wind), "km/h"),
            "relative_humidity_2m" => (json!(self.humidity), "%"),
            _ => return None,
        })
    }
}

/// The weather of the nearby city. If there is none, derived from the latitude, so that every position has weather.
pub(super) fn weather_at(latitude: f64, longitude: f64) -> Weather {
    let near = |city: &&City| {
        (city.latitude - latitude).abs() <= CITY_RADIUS && (city.longitude - longitude).abs() <= CITY_RADIUS
    };
    let fallback = Weather {
        elevation: 100.0,
        temperature: ((30.0 - latitude.abs() * 0.5) * 10.0).round() / 10.0,
        code: 2,
        wind: 10.0,
        humidity: 60,
    };
    CITIES.iter().find(near).map_or(fallback, |city| city.weather)
}

macro_rules! cities {
    ($($id:literal $name:literal, $region:literal, $country:literal $code:literal, $zone:literal, $population:literal,
       at $latitude:literal $longitude:literal $elevation:literal,
       $temperature:literal $weather:literal $wind:literal $humidity:literal;)*) => {
        &[$(City {
            id: $id, name: $name, region: $region, country: $country, country_code: $code, timezone: $zone,
            population: $population, latitude: $latitude, longitude: $longitude,
            weather: Weather {
                elevation: $elevation, temperature: $temperature, code: $weather, wind: $wind, humidity: $humidity,
            },
        }),*]
    };
}

pub(super) const CITIES: &[City] = cities! {
    4930956 "Boston", "Massachusetts", "United States" "US", "America/New_York", 653_833,
        at 42.35843 -71.05977 14.0, 7.2 3 18.4 71;
    5128581 "New York", "New York", "United States" "US", "America/New_York", 8_804_190,
        at 40.71427 -74.00597 10.0, 9.1 2 14.0 62;
    5391959 "San Francisco", "California", "United States" "US", "America/Los_Angeles", 864_816,
        at 37.77493 -122.41942 16.0, 14.3 45 11.2 83;
    2643743 "London", "England", "United Kingdom" "GB", "Europe/London", 8_961_989,
        at 51.50853 -0.12574 25.0, 8.6 61 20.9 88;
    2988507 "Paris", "Île-de-France", "France" "FR", "Europe/Paris", 2_138_551,
        at 48.85341 2.3488 42.0, 9.8 3 12.6 79;
    2950159 "Berlin", "State of Berlin", "Germany" "DE", "Europe/Berlin", 3_426_354,
        at 52.52437 13.41053 74.0, 4.5 71 16.2 85;
    2761369 "Vienna", "Vienna", "Austria" "AT", "Europe/Vienna", 1_691_468,
        at 48.20849 16.37208 171.0, 5.7 1 9.4 74;
    1850147 "Tokyo", "Tokyo", "Japan" "JP", "Asia/Tokyo", 9_733_276,
        at 35.6895 139.69171 44.0, 15.9 0 7.9 48;
    1275339 "Mumbai", "Maharashtra", "India" "IN", "Asia/Kolkata", 12_691_836,
        at 19.07283 72.88261 14.0, 29.4 1 13.3 64;
    2147714 "Sydney", "New South Wales", "Australia" "AU", "Australia/Sydney", 4_627_345,
        at -33.86785 151.20732 58.0, 23.1 80 21.6 69;
    3448439 "São Paulo", "São Paulo", "Brazil" "BR", "America/Sao_Paulo", 10_021_295,
        at -23.5475 -46.63611 769.0, 21.8 95 8.3 81;
    184745 "Nairobi", "Nairobi County", "Kenya" "KE", "Africa/Nairobi", 2_750_547,
        at -1.28333 36.81667 1669.0, 19.6 2 15.1 72;
};
