@restaurant
Feature: Restaurants
  A restaurant opens with a name, an address and a menu. From then on it can be ordered from.

  Rule: A restaurant opens with its menu

    @command
    Scenario: Opening
      Given the next restaurant is to be at:
        | street       | unit   | city    | state | zip   |
        | 7 Spice Lane | Unit 3 | Oakland | CA    | 94611 |
      When the restaurant "Ajanta" opens with the menu:
        | dish             | price |
        | Chicken Vindaloo | 12.34 |
        | Garlic Naan      | 3.50  |
      Then the restaurant "Ajanta" is at:
        | street       | unit   | city    | state | zip   |
        | 7 Spice Lane | Unit 3 | Oakland | CA    | 94611 |
      And the menu of "Ajanta" is:
        | dish             | price |
        | Chicken Vindaloo | 12.34 |
        | Garlic Naan      | 3.50  |

    @command
    Scenario: The menu may come later
      When the restaurant "Ajanta" opens without any dishes
      Then "Ajanta" has no dishes

    @command
    Scenario: A dish may cost nothing
      When the restaurant "Ajanta" opens with the menu:
        | dish      | price |
        | Tap Water | 0.00  |
      Then the menu of "Ajanta" is:
        | dish      | price |
        | Tap Water | 0.00  |

    @policy
    Scenario Outline: The <who> service hears of it
      When the restaurant "Ajanta" opens with the menu:
        | dish             | price |
        | Chicken Vindaloo | 12.34 |
      Then the <who> service knows "Ajanta"

      Examples:
        | who     |
        | order   |
        | kitchen |

  Rule: What makes no sense is refused

    @command
    Scenario: A restaurant without a name
      When a restaurant opens without a name
      Then it is refused because the name is not valid

    @command
    Scenario: A restaurant without a street
      When the restaurant "Ajanta" opens without a street
      Then it is refused because the street is not valid

    @command
    Scenario: A menu with the same dish twice
      When the restaurant "Ajanta" opens with the menu:
        | dish             | price |
        | Chicken Vindaloo | 12.34 |
        | Chicken Vindaloo | 11.00 |
      Then it is refused because the menu is not valid

    @command
    Scenario: A dish that costs less than nothing
      When the restaurant "Ajanta" opens with the menu:
        | dish             | price  |
        | Chicken Vindaloo | -12.34 |
      Then it is refused because the price is not valid

    @command
    Scenario: A dish without a name
      When the restaurant "Ajanta" opens with the menu:
        | dish | price |
        |      | 12.34 |
      Then it is refused because the name is not valid

  @query
  Scenario: Looking up a restaurant that does not exist
    Given the restaurant "Nowhere", which does not exist
    When the restaurant "Nowhere" is looked up
    Then it is refused because "restaurant not found"
