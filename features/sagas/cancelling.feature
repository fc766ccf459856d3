@saga @order
Feature: An order is cancelled everywhere or nowhere
  To cancel an order, the kitchen stops work on its ticket, then the account gives back what was authorized; then it is
  cancelled everywhere. When the kitchen or the account says no, everything is again as it was.

  Background:
    Given the consumer "Ada"
    And the restaurant "Ajanta" with the menu:
      | dish             | price |
      | Chicken Vindaloo | 12.34 |
    And "Ada" has ordered at "Ajanta":
      | dish             | quantity |
      | Chicken Vindaloo | 2        |

  Rule: All agree

    Scenario: An order is cancelled everywhere
      When "Ada" cancels the order
      Then the order is cancelled
      And the ticket of the order is cancelled
      And "Ada" has $0.00 authorized
      And the delivery of the order is cancelled
      And the history shows the order as cancelled

    @own_system
    Scenario: Also when a courier was to come
      Given the courier "Carl" is on duty
      And the kitchen has accepted the order
      And the delivery of the order is scheduled
      When "Ada" cancels the order
      Then the order is cancelled
      And the ticket of the order is cancelled
      And "Ada" has $0.00 authorized
      And "Carl" has nothing to do

  Rule: Who says no ends it, and everything is as it was

    Scenario: The kitchen has begun: the account is not asked
      Given the kitchen has started preparing the order
      When "Ada" cancels the order
      Then the order is approved
      And the ticket of the order is being prepared
      And "Ada" has $24.68 authorized
      And the history shows the order as approved
      And the delivery of the order is pending

    Scenario: The account refuses: the kitchen goes on
      Given the kitchen has accepted the order
      And the account of "Ada" has been disabled
      When "Ada" cancels the order
      Then the order is approved
      And the ticket of the order is accepted
      And "Ada" has $24.68 authorized
      And the delivery of the order is pending

    Scenario: What was refused can be tried again
      Given the account of "Ada" has been disabled
      And "Ada" has begun to cancel the order
      And the order is approved
      And the account of "Ada" has been enabled again
      When "Ada" cancels the order
      Then the order is cancelled
      And the ticket of the order is cancelled
      And "Ada" has $0.00 authorized

    @own_system
    Scenario: What was done is undone in reverse: the order waits until the kitchen goes on
      Given the kitchen has accepted the order
      And the account of "Ada" has been disabled
      And the accounting service is away
      And "Ada" has begun to cancel the order
      And the ticket of the order is being cancelled
      When the kitchen service goes away
      And the accounting service is back
      Then the order is still being cancelled
      When the kitchen service is back
      Then the order is approved
      And the ticket of the order is accepted

  Rule: Who is away is waited for

    @own_system
    Scenario Outline: The <service> service is away for a while
      Given the <service> service is away
      When "Ada" cancels the order
      Then the order is being cancelled
      When the <service> service is back
      Then the order is cancelled
      And the ticket of the order is cancelled
      And "Ada" has $0.00 authorized

      Examples:
        | service    |
        | kitchen    |
        | accounting |

    @own_system
    Scenario: Once the account has given back the money, nothing can stop a cancellation
      Given the accounting service is away
      And "Ada" has begun to cancel the order
      And the ticket of the order is being cancelled
      When the kitchen service goes away
      And the accounting service is back
      Then "Ada" has $0.00 authorized
      And the order is still being cancelled
      When the account of "Ada" is disabled
      And the kitchen service is back
      Then the order is cancelled
      And the ticket of the order is cancelled
      And "Ada" has $0.00 authorized

    @own_system
    Scenario: A kitchen that refuses after that is asked again until it agrees
      Given the accounting service is away
      And "Ada" has begun to cancel the order
      And the ticket of the order is being cancelled
      And the kitchen service has mislaid the ticket of the order
      When the accounting service is back
      Then "Ada" has $0.00 authorized
      And the order is still being cancelled
      When the kitchen service finds the ticket of the order again
      Then the order is cancelled
      And the ticket of the order is cancelled
      And "Ada" has $0.00 authorized
